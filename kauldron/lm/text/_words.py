"""Texts by words that were seen before: each word is encoded once.

Byte-level tokenizers divide a text into words, whose tokens depend on nothing else, and most
words come again and again. `tokenizers` divides and merges anew each time; here Python's `re`
divides, and a table has the tokens of the words. What `tokenizers` makes of a text is the
same, to the token.

Both know the same letters and digits only in an alphabet that is old enough: texts with
other characters, and tokenizers that divide otherwise, are left to `tokenizers`.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Published with GPT-2; with digits as words of their own; with LLaMA 3; with Qwen 2.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT2_DIGITS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
)
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = _WORDS.replace("DIGITS", r"\p{N}{1,3}")
QWEN2 = _WORDS.replace("DIGITS", r"\p{N}")
# Latin, Greek, Cyrillic; punctuation; currencies.
_BLOCKS = ((0x20, 0x530), (0x2010, 0x2028), (0x2030, 0x205F), (0x20A0, 0x20C0))
_CONTROLS = "\t\n\r"
_LONG_S = "\u017f"  # engines differ on whether it is an s in capitals
# Of all words in the table; then it begins anew.
_MAX_CHARACTERS = 2**20


class WordEncoder:
    """Encodes texts of people.

    Args:
      rust: The `tokenizers.Tokenizer` that encodes words, and all other texts.
      pattern: Of a word.
    """

    def __init__(self, rust: Any, pattern: str) -> None:
        self._rust = rust
        self._find_words = _compiled(pattern).findall
        self._is_known = _compiled_alphabet().fullmatch
        self._tokens: dict[str, bytes] = {}
        self._num_characters = 0

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Returns the tokens of each text, `i32[n]`."""
        divided = [
            self._find_words(text) if self._is_known(text) else None for text in texts
        ]
        tokens = self._tokens_of(
            set(itertools.chain.from_iterable(filter(None, divided)))
        )
        pairs = zip(texts, divided, strict=True)
        others = iter(encode(self._rust, [t for t, words in pairs if words is None]))
        return [
            next(others)
            if words is None
            else np.frombuffer(b"".join(map(tokens.__getitem__, words)), np.int32)
            for words in divided
        ]

    def _tokens_of(self, words: set[str]) -> dict[str, bytes]:
        """Returns a table that has these words; other threads may use others."""
        table = self._tokens
        missing = [word for word in words if word not in table]
        self._num_characters += sum(map(len, missing))
        if self._num_characters > _MAX_CHARACTERS:
            table, missing = {}, list(words)
            self._num_characters = sum(map(len, missing))
        found = encode(self._rust, missing)
        table.update((w, x.tobytes()) for w, x in zip(missing, found, strict=True))
        self._tokens = table
        return table


def encode(rust: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """Returns the tokens of each text as `tokenizers` makes them, `i32[n]`."""
    if not texts:
        return []
    found = rust.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(one.ids, np.int32) for one in found]


def word_encoder(rust: Any) -> WordEncoder | None:
    """Returns what encodes by words, if a tokenizer divides texts as is known here."""
    definition = json.loads(rust.to_str())
    is_plain = definition["normalizer"] in (None, {"type": "NFC"})
    is_plain &= not definition["model"].get("dropout")
    is_plain &= all(token["special"] for token in definition["added_tokens"])
    pattern = _pattern_of(definition["pre_tokenizer"] or {})
    return WordEncoder(rust, pattern) if is_plain and pattern else None


def _pattern_of(division: Mapping[str, Any]) -> str | None:
    """Returns the pattern of a word; `None` if texts are divided in another way."""
    parts = division.get("pretokenizers", [division])
    *first, last = parts
    if last.get("type") != "ByteLevel" or last["add_prefix_space"] or len(first) > 1:
        return None
    if not first:
        return GPT2 if last["use_regex"] else None
    (one,) = first
    if last["use_regex"]:
        is_digits = one == {"type": "Digits", "individual_digits": True}
        return _GPT2_DIGITS if is_digits else None
    for pattern in (GPT2, LLAMA3, QWEN2):
        split = {"pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        if one == {"type": "Split", **split}:
            return pattern
    return None


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    characters = {
        rf"\p{{{name}}}": _escaped(
            x for x in _alphabet() if unicodedata.category(x)[0] == name
        )
        for name in "LN"
    }

    def spell_out(match: re.Match[str]) -> str:
        found = match[0]
        for name, some in characters.items():
            found = found.replace(name, some)
        return found

    pattern = re.sub(r"\[[^]]*\]", spell_out, pattern)  # sets that have them
    for name, some in characters.items():
        pattern = pattern.replace(name, f"[{some}]")
    return re.compile(pattern)


@functools.cache
def _compiled_alphabet() -> re.Pattern[str]:
    return re.compile(f"[{_escaped(_alphabet())}]*")


@functools.cache
def _alphabet() -> str:
    """Returns characters that are what they were, and compose with no others."""
    every = map(chr, itertools.chain.from_iterable(range(*x) for x in _BLOCKS))
    return _CONTROLS + "".join(
        x
        for x in every
        if unicodedata.category(x)[0] in "LNPSZ"
        and unicodedata.is_normalized("NFC", x)
        and x != _LONG_S
    )


def _escaped(characters: Iterable[str]) -> str:
    return "".join(map(re.escape, characters))
