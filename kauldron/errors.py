"""The one exception base that commands turn into a short message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user asked for, found before anything was started.

    Commands print its message without a traceback and exit with code 2. Rooms derive
    their own exceptions from it together with the builtin type that fits, for instance
    `class ConfigError(UserError, ValueError)`. The message says what is wrong, what was
    seen, and what to do.
    """

    def __str__(self) -> str:
        # `KeyError.__str__` would print the repr of the message, newlines escaped.
        return Exception.__str__(self)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the nearest candidate, else `""`."""
    near = nearest(name, candidates, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def nearest(name: str, candidates: Iterable[str], *, n: int = 3) -> list[str]:
    """Returns up to `n` candidates that look like `name`, the most similar first."""
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(str(candidate).casefold(), str(candidate))
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=n, cutoff=0.6)
    return [by_folded[match] for match in matches]
