"""Abbreviated argument names: `lr` for `learning_rate`."""

from __future__ import annotations

from collections.abc import Iterable

from kauldron._base import errors


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the nearest candidate; knows abbreviations."""
    candidates = [*map(str, candidates)]
    meant = [c for c in candidates if abbreviates(name, c)]
    if meant:
        return f" Did you mean {min(meant, key=len)!r}?"
    return errors.did_you_mean(name, candidates)


def abbreviates(short: str, name: str) -> bool:
    """Returns whether a text is made of the beginnings of all words of a name, in order.

    `lr`, `lrate` and `learnrate` abbreviate `learning_rate`, `opt` abbreviates
    `optimizer`. A single letter abbreviates nothing.
    """
    letters = short.casefold().replace("_", "")
    words = [word for word in name.casefold().split("_") if word]
    if len(letters) < 2 or not words or letters == "".join(words):
        return False
    ends = {0}  # where in the letters the words so far may end
    for word in words:
        ends = {
            end + n
            for end in ends
            for n in range(1, len(word) + 1)
            if letters.startswith(word[:n], end)
        }
    return len(letters) in ends
