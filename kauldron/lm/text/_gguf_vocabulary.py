"""The vocabulary of a GGUF file as the definition of a tokenizer.

The kind `gpt2` is byte-level BPE with merges; how text is divided into words before that
is named by `tokenizer.ggml.pre`. The kind `llama` is BPE over characters with a score for
each token, and bytes for characters that are no token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kauldron.lm.text import (
    _errors,
    _packages,
    _tokenizer_files,
    _training,
    _words,
    gguf_files,
)

_KEY = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # types of tokens
_SPACE = "▁"


class _Division(NamedTuple):
    """How text is divided into words.

    Attributes:
      pattern: Of a word; `None` is GPT-2's.
      split_digits: Whether each digit is a word.
      normalize: Whether text is brought to NFC first.
      ignore_merges: Whether a word that is a token is not merged from its parts.
    """

    pattern: str | None = None
    split_digits: bool = False
    normalize: bool = False
    ignore_merges: bool = False


_LLAMA3 = _Division(_words.LLAMA3, ignore_merges=True)
_QWEN2 = _Division(_words.QWEN2, normalize=True)
_DIGITS = _Division(split_digits=True)

_DIVISIONS: Mapping[str, _Division] = {
    "default": _Division(),
    "gpt-2": _Division(),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "smollm": _DIGITS,
    "codeshell": _DIGITS,
    "refact": _DIGITS,
    "starcoder": _DIGITS,
    "command-r": _DIGITS,
}


def read(
    path: str | os.PathLike[str],
) -> tuple[str, _tokenizer_files.SpecialTokens, str | None]:
    """Returns the definition, the special tokens, and the chat template of a file.

    Raises:
      TokenizerError: If the file has no vocabulary, or one of another kind.
    """
    tokenizers = _packages.load("tokenizers", "`kd.lm.Tokenizer.from_gguf`")
    try:
        values = gguf_files.GgufFile.open(path).metadata
    except gguf_files.GgufError as error:
        raise _errors.TokenizerError(
            f"{os.fspath(path)!r} cannot be read as GGUF: {error}"
        ) from None
    kinds = {"gpt2": _gpt2, "llama": _llama}
    kind = values.get(f"{_KEY}model")
    if kind not in kinds or f"{_KEY}tokens" not in values:
        raise _errors.TokenizerError(
            f"{os.fspath(path)!r} has a vocabulary of the kind {kind!r}. Known are "
            f"{sorted(kinds)}: use the `tokenizer.json` of the model instead."
        )
    rust = kinds[kind](tokenizers, values, os.fspath(path))
    rust.add_special_tokens(_added(tokenizers, values, _CONTROL, special=True))
    rust.add_tokens(_added(tokenizers, values, _USER_DEFINED, special=False))
    return rust.to_str(), _special_tokens(values), values.get(_TEMPLATE)


def _gpt2(tokenizers: Any, values: Mapping[str, Any], path: str) -> Any:
    name = values.get(f"{_KEY}pre", "default")
    if name not in _DIVISIONS:
        raise _errors.TokenizerError(
            f"{path!r} divides text into words by the rule {name!r}. Known are "
            f"{sorted(_DIVISIONS)}: use the `tokenizer.json` of the model instead."
        )
    division = _DIVISIONS[name]
    merges = [tuple(pair.split(" ", 1)) for pair in values[f"{_KEY}merges"]]
    rust = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=_ids(values), merges=merges, ignore_merges=division.ignore_merges
        )
    )
    if division.normalize:
        rust.normalizer = tokenizers.normalizers.NFC()
    rust.pre_tokenizer = _pre_tokenizer(tokenizers, division)
    rust.decoder = tokenizers.decoders.ByteLevel()
    return rust


def _pre_tokenizer(tokenizers: Any, division: _Division) -> Any:
    if division.pattern is None:
        return _training.byte_level(tokenizers, split_digits=division.split_digits)
    pre_tokenizers = tokenizers.pre_tokenizers
    split = pre_tokenizers.Split(tokenizers.Regex(division.pattern), "isolated")
    of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, of_bytes])


def _llama(tokenizers: Any, values: Mapping[str, Any], path: str) -> Any:
    del path
    ids = _ids(values)
    unknown = _token_at(values, "unknown_token_id")
    rust = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=ids,
            merges=_merges_by_score(ids, values[f"{_KEY}scores"]),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    has_prefix = values.get(f"{_KEY}add_space_prefix", True)
    spaces = normalizers.Replace(" ", _SPACE)
    prefix = [normalizers.Prepend(_SPACE)] if has_prefix else []
    rust.normalizer = normalizers.Sequence([*prefix, spaces])
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [decoders.Strip(" ", 1, 0)] if has_prefix else []
    rust.decoder = decoders.Sequence([*steps, *strip])
    return rust


def _merges_by_score(
    ids: Mapping[str, int], scores: Sequence[float]
) -> list[tuple[str, str]]:
    """Returns the pairs that make a token, the highest score first."""
    merges = []
    for token, index in ids.items():
        pairs = [
            (token[:i], token[i:])
            for i in range(1, len(token))
            if token[:i] in ids and token[i:] in ids
        ]
        pairs.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(scores[index], index, pair) for pair in pairs]
    merges.sort(key=lambda merge: (-merge[0], merge[1]))
    return [pair for _, _, pair in merges]


def _ids(values: Mapping[str, Any]) -> dict[str, int]:
    return {token: index for index, token in enumerate(values[f"{_KEY}tokens"])}


def _added(
    tokenizers: Any, values: Mapping[str, Any], of_type: int, *, special: bool
) -> list[Any]:
    types = values.get(f"{_KEY}token_type", ())
    # A role makes a token special, also in files without types.
    wanted = {index for index, type_ in enumerate(types) if type_ == of_type}
    if special:
        wanted |= {index for index, type_ in enumerate(types) if type_ == _UNKNOWN}
        roles = _special_tokens(values).all()
        wanted |= {index for token, index in _ids(values).items() if token in roles}
    tokens = values[f"{_KEY}tokens"]
    return [
        tokenizers.AddedToken(tokens[index], special=special, normalized=False)
        for index in sorted(wanted)
    ]


def _special_tokens(values: Mapping[str, Any]) -> _tokenizer_files.SpecialTokens:
    eos = _token_at(values, "eos_token_id")
    turn = [_token_at(values, key) for key in ("eot_token_id", "eom_token_id")]
    return _tokenizer_files.SpecialTokens(
        bos=_token_at(values, "bos_token_id"),
        eos=eos,
        pad=_token_at(values, "padding_token_id"),
        unk=_token_at(values, "unknown_token_id"),
        ends_of_turn=tuple(t for t in turn if t is not None and t != eos),
        adds_bos=bool(values.get(f"{_KEY}add_bos_token", False)),
        adds_eos=bool(values.get(f"{_KEY}add_eos_token", False)),
    )


def _token_at(values: Mapping[str, Any], key: str) -> str | None:
    index = values.get(f"{_KEY}{key}")
    return None if index is None else values[f"{_KEY}tokens"][index]
