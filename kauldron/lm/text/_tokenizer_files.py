"""Tokenizers in Hugging Face folders: reading and writing."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from kauldron.lm.text import _errors

DEFINITION = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_ROLES = "special_tokens_map.json"
_TEMPLATE = "chat_template.jinja"
_BY_ROLE = ("pad", "bos", "eos", "unk")
_ENDS_OF_TURN = "ends_of_turn"  # other programs leave it alone


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The tokens of a vocabulary that are no text, by their role.

    Attributes:
      bos: Begins a text.
      eos: Ends a text.
      pad: Fills up rows.
      unk: Stands for what the vocabulary lacks.
      ends_of_turn: End an answer, besides `eos`.
      others: Have no role, and are special nevertheless.
      adds_bos: Whether the model was trained with `bos` before every text.
      adds_eos: Whether the model was trained with `eos` behind every text.
    """

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    ends_of_turn: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    adds_bos: bool = False
    adds_eos: bool = False

    def by_role(self) -> dict[str, str]:
        """Returns role -> token, for the roles that are taken."""
        roles = {name: getattr(self, name) for name in _BY_ROLE}
        return {role: token for role, token in roles.items() if token is not None}

    def all(self) -> tuple[str, ...]:
        """Returns the tokens, each once."""
        tokens = [*self.by_role().values(), *self.ends_of_turn, *self.others]
        return tuple(dict.fromkeys(tokens))


FOR_TRAINING = SpecialTokens(pad="<pad>", bos="<s>", eos="</s>")


def read_text(path: str | os.PathLike[str]) -> str:
    """Returns the content of a file.

    Raises:
      TokenizerError: If it cannot be read.
    """
    try:
        return pathlib.Path(path).read_text("utf-8")
    except IsADirectoryError:
        raise _errors.TokenizerError(
            f"{os.fspath(path)!r} is a folder: use `Tokenizer.from_folder`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _errors.TokenizerError(
            f"The tokenizer {os.fspath(path)!r} cannot be read: {error}."
        ) from None


def read_folder(
    path: str | os.PathLike[str],
) -> tuple[str, SpecialTokens, str | None]:
    """Returns the definition, the special tokens, and the chat template of a folder.

    Raises:
      TokenizerError: If a file is missing or broken.
    """
    folder = pathlib.Path(path)
    if not (folder / DEFINITION).is_file():
        there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        raise _errors.TokenizerError(
            f"There is no {DEFINITION} in {str(folder)!r}. It has {there or 'no files'}. "
            "Tokenizers that exist as Python code or as a sentencepiece model alone must "
            "be converted first."
        )
    config = _read_json(folder / _CONFIG) | _read_json(folder / _ROLES)
    roles = {role: _content(config.get(f"{role}_token")) for role in _BY_ROLE}
    more = [
        *_contents(config.get("additional_special_tokens")),
        *_contents(config.get("extra_special_tokens")),
    ]
    ends_of_turn = _contents(config.get(_ENDS_OF_TURN))
    special = SpecialTokens(
        **roles,
        ends_of_turn=ends_of_turn,
        others=tuple(token for token in more if token not in ends_of_turn),
        adds_bos=bool(config.get("add_bos_token", False)),
        adds_eos=bool(config.get("add_eos_token", False)),
    )
    return read_text(folder / DEFINITION), special, _template_of(folder, config)


def write_folder(
    path: str | os.PathLike[str],
    definition: str,
    special: SpecialTokens,
    chat_template: str | None,
) -> None:
    """Writes what `read_folder` reads."""
    folder = pathlib.Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    roles = {f"{role}_token": token for role, token in special.by_role().items()}
    more = [*special.ends_of_turn, *special.others]
    roles_and_more = roles | ({"additional_special_tokens": more} if more else {})
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": special.adds_bos,
        "add_eos_token": special.adds_eos,
        "clean_up_tokenization_spaces": False,
        **roles_and_more,
    }
    if special.ends_of_turn:
        config[_ENDS_OF_TURN] = special.ends_of_turn
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / DEFINITION).write_text(definition, "utf-8")
    for name, content in ((_CONFIG, config), (_ROLES, roles_and_more)):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", "utf-8")


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise _errors.TokenizerError(f"{str(path)!r} is no JSON: {error}.") from None
    if not isinstance(content, dict):
        raise _errors.TokenizerError(
            f"{str(path)!r} must hold a JSON object: got a {type(content).__name__}."
        )
    return content


def _content(token: Any) -> Any:
    """Returns the text of a token, which files write plainly or with its options."""
    return token.get("content") if isinstance(token, Mapping) else token


def _contents(tokens: Any) -> tuple[str, ...]:
    tokens = tokens.values() if isinstance(tokens, Mapping) else tokens or ()
    return tuple(text for text in map(_content, tokens) if text)


def _template_of(folder: pathlib.Path, config: Mapping[str, Any]) -> str | None:
    if (folder / _TEMPLATE).is_file():
        return (folder / _TEMPLATE).read_text("utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, each with a name
        by_name = {entry["name"]: entry["template"] for entry in template}
        return by_name.get("default", next(iter(by_name.values()), None))
    return template
