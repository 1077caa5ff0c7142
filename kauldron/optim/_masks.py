"""Partial updates: which parameters an optimizer changes, by path."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from kauldron.kontext import leaf_globs
from kauldron.ktyping import PyTree
from kauldron.optim import _paths

_REGEX_CHARACTERS = frozenset("()[]?+*^$|\\")


def partial_updates(
    optimizer: optax.GradientTransformation, mask: PyTree[bool] | Callable[[Any], Any]
) -> optax.GradientTransformation:
    """Lets an optimizer change some parameters, and freezes the others.

    Frozen parameters stay bit-identical, and the optimizer keeps no state for them.

    Args:
      optimizer: Optimizer of the selected parameters.
      mask: Tree of bools of the structure of the parameters, or a function from
        parameters to such a tree, such as `kd.optim.select('head')`.
    """

    def labels(params: PyTree) -> Any:
        selected = mask(params) if callable(mask) else mask
        return jax.tree.map(lambda on: "train" if on else "freeze", selected)

    return optax.multi_transform(
        {"train": optimizer, "freeze": optax.set_to_zero()}, labels
    )


def select(pattern: str | Sequence[str]) -> Callable[[Any], Any]:
    """Returns a function from parameters to a tree of bools: whose path matches.

    A pattern matches whole components anywhere in the dotted path: `'lora'` matches
    `a.lora.kernel`, and not `a.notlora.kernel`. A string with any of `()[]?+*^$|\\` is a
    regular expression; one with `**`, which no regular expression has, is a glob as in
    `kd.optim.by_path`: `'**.bias'`, `'encoder.**.kernel'`.

    Args:
      pattern: One pattern, or several of which one must match.

    Raises (when the function is called):
      NoMatchError: If a pattern matches no parameter.
    """
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    return _Select(patterns, matches=True)


def exclude(pattern: str | Sequence[str]) -> Callable[[Any], Any]:
    """As `select`, with the opposite answer."""
    patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
    return _Select(patterns, matches=False)


class _Select:
    def __init__(self, patterns: tuple[str, ...], *, matches: bool) -> None:
        self._patterns = patterns
        self._matches = matches

    def __call__(self, params: PyTree) -> Any:
        paths = _paths.parameter_paths(params)
        is_matched = [False] * len(paths)
        for pattern in self._patterns:
            found = _matches(pattern, paths)
            if not any(found):
                raise _paths.NoMatchError(
                    leaf_globs.no_match(f"pattern {pattern!r}", pattern, paths)
                )
            is_matched = [a or b for a, b in zip(is_matched, found, strict=True)]
        structure = jax.tree.structure(params)
        return structure.unflatten([m == self._matches for m in is_matched])

    def __repr__(self) -> str:
        name = "select" if self._matches else "exclude"
        return f"kd.optim.{name}({list(self._patterns)!r})"


def _matches(pattern: str, paths: Sequence[str]) -> list[bool]:
    if "**" in pattern:
        return leaf_globs.matches(pattern, paths)
    regex = _to_regex(pattern)
    return [regex.search(path) is not None for path in paths]


def _to_regex(pattern: str) -> re.Pattern[str]:
    if not _REGEX_CHARACTERS & set(pattern):
        pattern = re.escape(pattern)
    return re.compile(rf"(?:^|(?<=\.))(?:{pattern})(?:$|(?=\.))")
