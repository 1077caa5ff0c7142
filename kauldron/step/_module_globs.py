"""Globs over the paths of Flax modules, such as `encoder.*` or `**.norm`.

A path is the names from the root to a module. `*` stands for one name, also as a part of
one (`block_*`); `**` for any number of names.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flax import linen as nn

from kauldron._base import errors

ModulePath = tuple[str, ...]


class ModuleGlobError(errors.UserError, ValueError):
    """A glob that matches no module."""


def matches(pattern: str, path: ModulePath) -> bool:
    """Whether a pattern names this module."""
    return _to_regex(pattern).fullmatch(_to_text(path)) is not None


def is_within(pattern: str, path: ModulePath) -> bool:
    """Whether a pattern names this module, or one that it is inside of."""
    return any(matches(pattern, path[:i]) for i in range(len(path) + 1))


@contextlib.contextmanager
def record() -> Iterator[dict[ModulePath, None]]:
    """Collects the paths of the modules that are called in the block, in order."""
    seen: dict[ModulePath, None] = {}

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        seen[tuple(context.module.path)] = None
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield seen


def check(patterns: Iterable[str], paths: Iterable[ModulePath], *, field: str) -> None:
    """Raises if a pattern matches none of the paths.

    Raises:
      ModuleGlobError: With near paths.
    """
    paths = list(paths)
    for pattern in patterns:
        if any(matches(pattern, path) for path in paths):
            continue
        names = [".".join(path) for path in paths if path]
        globs = [f"**.{path[-1]}" for path in paths if path]
        near = errors.nearest(pattern, [*names, *globs])
        hint = f" Near: {near}." if near else ""
        raise ModuleGlobError(
            f"`{field}` has {pattern!r}, which matches no module.{hint} The modules are "
            f"{names[:8]}{' ...' if len(names) > 8 else ''}."
        )


def _to_text(path: ModulePath) -> str:
    return "".join(f"{name}." for name in path)


@functools.cache
def _to_regex(pattern: str) -> re.Pattern[str]:
    regex = ""
    for name in pattern.split("."):
        if name == "**":
            regex += r"(?:[^.]+\.)*"
        else:
            regex += re.escape(name).replace(r"\*", "[^.]*") + r"\."
    return re.compile(regex)
