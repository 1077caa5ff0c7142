"""Sharding of the optimizer state: like the parameters it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding

from kauldron.ktyping import PyTree
from kauldron.sharding import _placement


@dataclasses.dataclass(frozen=True)
class _Placed:
    shape: tuple[int, ...]
    sharding: Sharding | None


def follow(
    opt_state: PyTree, params: PyTree, shardings: _placement.ShardingTree
) -> Any:
    """Returns shardings for an optimizer state: each array is where its parameter is.

    The parameter of an array is the one whose path the path of the array ends with (as
    `mu.encoder.kernel` does with `encoder.kernel`), if the shapes are the same. What
    belongs to none, such as counters and factored moments, is left to the compiler.

    Args:
      opt_state: Arrays, or anything with `shape`.
      params: The parameters, likewise.
      shardings: Of the parameters, a prefix of them.

    Returns:
      A prefix of `opt_state`; `None` if no parameter is split.
    """
    placed = {
        _names(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            _placement.map_shardings(
                lambda x, sharding: _Placed(np.shape(x), sharding), params, shardings
            )
        )
    }
    if all(
        p.sharding is None or p.sharding.is_fully_replicated for p in placed.values()
    ):
        return None
    return jax.tree_util.tree_map_with_path(
        lambda path, x: _sharding_of(_names(path), np.shape(x), placed), opt_state
    )


def _sharding_of(
    path: tuple[str, ...],
    shape: tuple[int, ...],
    placed: Mapping[tuple[str, ...], _Placed],
) -> Sharding | None:
    for start in range(len(path) + 1):  # the longest path first
        param = placed.get(path[start:])
        if param is not None and param.shape == shape:
            return param.sharding
    return None


def _names(path: tuple[object, ...]) -> tuple[str, ...]:
    def name(entry: object) -> str:
        for attribute in ("key", "idx", "name"):
            if hasattr(entry, attribute):
                return str(getattr(entry, attribute))
        return str(entry)

    return tuple(map(name, path))
