"""Matching parameters by glob: kontext globs over parameter paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax

from kauldron._base import errors
from kauldron.kontext import leaf_globs
from kauldron.ktyping import PyTree

# What names a set of parameters: globs, or a function from parameters to a tree of bools.
Selection: TypeAlias = str | Sequence[str] | Callable[[Any], Any]


class NoMatchError(errors.UserError, ValueError):
    """A pattern that matches no parameter."""


class RoutingError(errors.UserError, ValueError):
    """Parameters that nothing, or more than one thing, takes care of."""


def parameter_paths(params: PyTree) -> list[str]:
    """Returns the dotted paths of all leaves, in the order of `jax.tree.leaves`."""
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]


def selected(selection: Selection, params: PyTree, *, of: str = "") -> list[bool]:
    """Returns, for each leaf of the parameters, whether it is selected.

    Args:
      selection: One glob, several of which one must match, or a function from the
        parameters to a tree of bools.
      params: The parameters.
      of: What the globs belong to, for messages, such as `'`exclude`'`.

    Raises:
      NoMatchError: If a glob matches no parameter.
    """
    if callable(selection):
        return [bool(on) for on in jax.tree.leaves(selection(params))]
    paths = parameter_paths(params)
    patterns = (selection,) if isinstance(selection, str) else tuple(selection)
    chosen = [False] * len(paths)
    for pattern in patterns:
        found = leaf_globs.matches(pattern, paths)
        if not any(found):
            name = f"glob {pattern!r} of {of}" if of else f"glob {pattern!r}"
            raise NoMatchError(leaf_globs.no_match(name, pattern, paths))
        chosen = [a or b for a, b in zip(chosen, found, strict=True)]
    return chosen


def route(patterns: Iterable[str], params: PyTree) -> list[str]:
    """Returns, for each leaf of the parameters, the first glob that matches it.

    Raises:
      NoMatchError: If a glob matches no parameter, or only ones already taken.
      RoutingError: If a parameter is matched by none.
    """
    paths = parameter_paths(params)
    owners: list[str | None] = [None] * len(paths)
    for pattern in patterns:
        found = selected(pattern, params)
        if all(
            owner is not None for owner, on in zip(owners, found, strict=True) if on
        ):
            takers = dict.fromkeys(o for o, on in zip(owners, found, strict=True) if on)
            raise NoMatchError(
                f"The glob {pattern!r} comes too late: all it matches is taken by "
                f"{', '.join(map(repr, takers))} before it. The first match counts: "
                "write it further up."
            )
        owners = [
            pattern if on and owner is None else owner
            for owner, on in zip(owners, found, strict=True)
        ]
    left = [p for p, owner in zip(paths, owners, strict=True) if owner is None]
    if left:
        raise RoutingError(
            f"No glob matches the parameters {leaf_globs.listed(left)}. Add one, such as '**' for "
            "all the rest."
        )
    return [owner for owner in owners if owner is not None]
