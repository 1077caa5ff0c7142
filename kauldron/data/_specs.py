"""Shapes and dtypes of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.workdir import array_spec

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


def spec_of(tree: PyTree) -> Any:
    """Returns the `enp.ArraySpec` of every array, in the structure of the batch."""
    return _map(_spec_of_leaf, tree)


def with_num_rows(spec: PyTree, num_rows: int) -> Any:
    """Returns the specs with another size of the first axis."""
    return _map(
        lambda leaf: array_spec.ArraySpec(
            shape=(num_rows, *leaf.shape[1:]), dtype=leaf.dtype
        ),
        spec,
    )


def zeros(spec: PyTree) -> Any:
    """Returns NumPy zeros of these specs."""
    return _map(lambda leaf: np.zeros(leaf.shape, np_dtype(leaf.dtype)), spec)


def np_dtype(dtype: Any) -> np.dtype:
    """Returns the NumPy dtype of a spec's dtype."""
    return np.dtype(object) if dtype is str else np.dtype(dtype)


def _spec_of_leaf(leaf: Any) -> array_spec.ArraySpec:
    if not hasattr(leaf, "shape"):
        leaf = np.asarray(leaf)
    return array_spec.ArraySpec(shape=tuple(leaf.shape), dtype=leaf.dtype)


def _map(fn: Callable[..., Any], tree: PyTree) -> Any:
    if isinstance(tree, dict):
        return {key: _map(fn, child) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [_map(fn, child) for child in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return None if tree is None else fn(tree)
