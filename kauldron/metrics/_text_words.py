"""Word splitting for ROUGE, in any script."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

# Scripts that are written without spaces between words: by the names of their letters.
_WITHOUT_SPACES = re.compile(
    "CJK (UNIFIED|COMPATIBILITY) IDEOGRAPH|(HALFWIDTH )?(KATAKANA|HIRAGANA)"
    "|THAI |LAO |KHMER |MYANMAR "
)
_JOINERS = "\u200c\u200d"  # stand inside of words, for instance of Persian and Hindi


class Tokenizer:
    """What rouge-score takes for a tokenizer.

    Args:
      split: Function from a text to its words.
      use_stemmer: Whether English words of more than three letters are reduced to their
        stems.
    """

    def __init__(self, split: Callable[[str], list[str]], *, use_stemmer: bool) -> None:
        self._split = split
        self._stemmer = _stemmer() if use_stemmer else None

    def tokenize(self, text: str) -> list[str]:
        words = self._split(text)
        if self._stemmer is None:
            return words
        return [
            self._stemmer.stem(w) if len(w) > 3 and w.isascii() else w for w in words
        ]


def _stemmer() -> Any:
    from nltk.stem import porter  # what rouge-score takes

    return porter.PorterStemmer()


def split_words(text: str) -> list[str]:
    """Returns words in small letters: runs of letters, marks and digits.

    A letter of a script without spaces is a word by itself, with the marks on it.
    Punctuation and symbols belong to no word.
    """
    words: list[str] = []
    previous = "none"
    for char in text.lower():
        kind = _kind(char)
        if kind == "mark" and previous != "none":
            words[-1] += char
        elif kind == "alone":
            words.append(char)
            previous = kind
        elif kind == "none":
            previous = kind
        elif previous == "word":
            words[-1] += char
        else:
            words.append(char)
            previous = "word"
    return words


def split_ascii(text: str) -> list[str]:
    """Returns words as rouge-score splits them: whatever is no a-z or digit separates."""
    return re.findall(r"[a-z0-9]+", text.lower())


def split_characters(text: str) -> list[str]:
    """Returns the characters in small letters, without spaces."""
    return [char for char in text.lower() if not char.isspace()]


def _split_as_bleu(name: str) -> Callable[[str], list[str]]:
    """Returns a function that splits as the tokenizer of sacrebleu of that name."""

    def split(text: str) -> list[str]:
        from sacrebleu.metrics.bleu import BLEU

        tokenizer = BLEU(tokenize=name, force=True).tokenizer
        return tokenizer(text.lower()).split()

    return split


# What `tokenize` of Rouge may be.
SPLITS = {
    "words": split_words,
    "ascii": split_ascii,
    "char": split_characters,
    "none": str.split,
    **{name: _split_as_bleu(name) for name in ("13a", "intl", "zh")},
}


@functools.lru_cache(maxsize=65536)
def _kind(char: str) -> str:
    """Returns `'word'`, `'mark'`, `'alone'`, or `'none'` of what is part of no word."""
    category = unicodedata.category(char)
    if category[0] == "M" or char in _JOINERS:
        return "mark"
    if category[0] == "L" and _WITHOUT_SPACES.match(unicodedata.name(char, "")):
        return "alone"
    return "word" if category[0] in "LN" else "none"
