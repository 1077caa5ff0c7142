"""What a `GenerationEvaluator` says and does as an evaluator of files, for apps."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.evals import file_prediction
from kauldron.lm.text._tokenizer import Tokenizer

OUTPUT = "text"
SETTINGS = ("max_tokens", "seed", "sampling.*")


class PromptFileError(errors.UserError, ValueError):
    """A file holds no prompt."""


def interface(
    element: Mapping[str, Any], prompt_key: str
) -> file_prediction.FileInterface:
    """Returns what is read and written.

    Args:
      element: One of the prompts.
      prompt_key: Where the prompt of an element is.
    """
    text = file_prediction.FileKind(kind="text")
    others = [
        name
        for name, value in element.items()
        if name != prompt_key and isinstance(value, str)
    ]
    return file_prediction.FileInterface(
        inputs={prompt_key: text},
        references={
            name: file_prediction.FileKind(kind="text", required=False)
            for name in others
        },
        outputs={OUTPUT: text},
        combines_members=False,
        settings=SETTINGS,
    )


def without_prompts(
    cfg: Any, name: str, element: Mapping[str, Any], tokenizer: Tokenizer
) -> Any:
    """Returns the config of a run with one evaluator, which has no prompts of its own.

    Args:
      cfg: The config, with `name` as its only evaluator.
      name: Of the evaluator.
      element: One of its prompts.
      tokenizer: Of the model; it is written into the config.
    """
    node = cfg.evals[name]
    texts = {key: "" for key, value in element.items() if isinstance(value, str)}
    own = {
        "prompts": [texts],
        "tokenizer": konfig.ConfigDict(konfig.export(tokenizer)),
    }
    for field, value in own.items():
        del node[field]  # a call may not become a list
        node[field] = value
    cfg["eval_ds"] = None
    return cfg


def predict(
    write: Callable[[Sequence[Mapping[str, Any]]], Sequence[str]],
    measure: Callable[[Sequence[Mapping[str, Any]], Sequence[str]], Mapping[str, Any]],
    request: file_prediction.FileRequest,
    *,
    batch_size: int,
) -> Iterator[file_prediction.FileResult]:
    """Yields what becomes of each prompt, and then of all together.

    Args:
      write: Returns a text for each element.
      measure: Adds elements and texts to what is measured; returns the values so far.
      request: What is asked.
      batch_size: Texts that are written at once.
    """
    values: Mapping[str, Any] = {}
    cases = list(request.cases.items())
    for start in range(0, len(cases), batch_size):
        part = cases[start : start + batch_size]
        elements = [
            {name: _read(file) for name, file in files.items()} for _, files in part
        ]
        texts = write(elements)
        if request.measures:
            values = measure(elements, texts)
        for (case, _), text in zip(part, texts, strict=True):
            files = []
            if request.predictions is not None:
                files.append(_write(request.predictions, case, text))
            yield file_prediction.FileResult(
                case=case, files=files, values={OUTPUT: text}
            )
    yield file_prediction.FileResult(case=None, values=values)


def _write(folder: pathlib.Path, case: str, text: str) -> file_prediction.WrittenFile:
    path = folder / OUTPUT / f"{case}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return file_prediction.WrittenFile(path=path, output=OUTPUT, kind="text")


def _read(path: str) -> Any:
    """Returns the text of a file; of a `.json`, the messages of a conversation."""
    name = pathlib.PurePath(path).name
    try:
        text = pathlib.Path(path).read_text("utf-8")
    except UnicodeDecodeError as e:
        raise PromptFileError(f"{name!r} is no text in UTF-8: {e}.") from e
    if not name.lower().endswith(".json"):
        return text
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise PromptFileError(f"{name!r} is no JSON: {e}.") from e
    are_messages = isinstance(messages, list) and all(
        isinstance(message, Mapping) and {"role", "content"} <= set(message)
        for message in messages
    )
    if not are_messages or not messages:
        raise PromptFileError(
            f"{name!r} must be a list of messages, `[{{'role': 'user', 'content': "
            "'...'}]`."
        )
    return messages
