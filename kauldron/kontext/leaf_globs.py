"""Globs over the leaves of a tree, such as parameters: `encoder`, `**.bias`.

A glob begins at the root and takes everything below what it matches: `encoder` is all of
the encoder, `*.kernel` a kernel one level down, `**.bias` a bias anywhere, `**`
everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kauldron._base import errors
from kauldron.kontext import _path

_MAX_SHOWN = 8


def matches(pattern: str, paths: Sequence[str]) -> list[bool]:
    """Returns which dotted paths of leaves a glob matches."""
    parts = _path.GlobPath.from_str(pattern).parts
    return [_is_match(parts, path.split(".")) for path in paths]


def _is_match(parts: tuple[Any, ...], names: Sequence[str]) -> bool:
    if not parts:
        return True  # and all that is below
    if parts[0] is _path.Wildcard.DOUBLE_STAR:
        return any(_is_match(parts[1:], names[i:]) for i in range(len(names) + 1))
    if not names:
        return False
    is_named = parts[0] is _path.Wildcard.STAR or str(parts[0]) == names[0]
    return is_named and _is_match(parts[1:], names[1:])


def no_match(name: str, pattern: str, paths: Sequence[str]) -> str:
    """Returns the message about a pattern, told by `name`, that matches no parameter."""
    names = [".".join(p.split(".")[:n]) for p in paths for n in _depths(p)]
    candidates = dict.fromkeys(
        [*names, *(part for p in paths for part in p.split("."))]
    )
    near = errors.nearest(pattern, candidates) or errors.nearest(
        pattern.replace("*", "").strip("."), candidates
    )
    hint = f" Near: {near}." if near else ""
    return f"The {name} matches no parameter.{hint} The parameters are {listed(paths)}."


def _depths(path: str) -> range:
    return range(1, path.count(".") + 2)


def listed(paths: Sequence[str]) -> str:
    """Returns the first few paths as text."""
    more = f" and {len(paths) - _MAX_SHOWN} more" if len(paths) > _MAX_SHOWN else ""
    return f"{list(paths[:_MAX_SHOWN])}{more}"
