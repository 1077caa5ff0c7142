"""`load`: from a name, a folder, a GGUF file or a workdir to a model that is ready."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from kauldron import modules as nn
from kauldron.ktyping import PyTree
from kauldron.lm.generation._text_generator import TextGenerator
from kauldron.lm.loading import _places, _workdir_model
from kauldron.lm.models import _errors, _published
from kauldron.lm.text._tokenizer import Tokenizer


def find(name_or_path: str | os.PathLike[str]) -> _published.PublishedModel:
    """Returns a published model, of which only config or header are read.

    Args:
      name_or_path: A name that `kauldron data fetch` knows, such as `"smollm2"`, which is
        fetched the first time; a Hugging Face folder; or a GGUF file.

    Raises:
      ModelError: If there is no such model, or its family is not known.
    """
    path = _places.find_path(name_or_path)
    return _published.PublishedModel.open(_places.published_path(path))


def load(
    name_or_path: str | os.PathLike[str],
    *,
    sharding: Any = None,
    trusted: Iterable[str] = (),
    **options: Any,
) -> tuple[nn.CausalLM, PyTree, Tokenizer]:
    """Returns model, parameters and tokenizer.

    Args:
      name_or_path: What `find` takes, or the workdir of a run.
      sharding: Where parameters go, see `PublishedModel.params`; not of a workdir, which
        has its own.
      trusted: Packages whose names the config of a workdir may use, as `["kauldron"]`;
        that of a run of your own may use all.
      **options: Of the model, see `PublishedModel.model`; `tokens` is `"batch.tokens"`
        unless given. Not of a workdir.

    Raises:
      ModelError: If there is no such model, or its family is not known.
      CheckpointError: If its files are damaged, or do not fit the family.
      TokenizerError: If its tokenizer cannot be read.

    Example:

    ```python
    model, params, tokenizer = kd.lm.load("smollm2")
    logits = model.apply({"params": params}, tokens=tokens)["logits"]
    ```
    """
    generator = text_generator(
        name_or_path, sharding=sharding, trusted=trusted, **options
    )
    return generator.model, generator.params, generator.tokenizer


def text_generator(
    name_or_path: str | os.PathLike[str],
    *,
    sharding: Any = None,
    trusted: Iterable[str] = (),
    **options: Any,
) -> TextGenerator:
    """Returns a model that writes text, see `load`.

    Example:

    ```python
    generator = kd.lm.text_generator("smollm2")
    (answer,) = generator([[{"role": "user", "content": "What is 2 + 2?"}]])
    ```
    """
    path = _places.find_path(name_or_path)
    if path.is_dir() and _workdir_model.is_workdir(path):
        if sharding is not None or options:
            raise _errors.ModelError(
                f"The run {str(path)!r} says itself what its model is: got the options "
                f"{['sharding', *options] if sharding is not None else [*options]}."
            )
        model, params, tokenizer = _workdir_model.load(path, trusted)
        return TextGenerator(model=model, params=params, tokenizer=tokenizer)
    published = _published.PublishedModel.open(_places.published_path(path))
    tokenizer = published.tokenizer()
    model = published.model(**({"tokens": "batch.tokens"} | options))
    return TextGenerator(
        model=model,
        params=published.params(model, sharding=sharding),
        tokenizer=tokenizer,
        context_length=published.context_length,
        stop_ids=published.stop_ids,
    )
