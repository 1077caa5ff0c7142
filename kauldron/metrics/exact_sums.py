"""Exact accumulation: f64 and int64 on the host, the given dtypes inside jit.

f32 stops counting at 2^24, a number of pixels that an evaluation easily has. So
concrete arrays are fetched and added up by NumPy in double precision; only tracers stay
as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from kauldron import sharding
from kauldron.ktyping import Array, DType, PyTree, Scalar

_PART = 2**16


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a tracer, that is, whether this runs inside jit."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def to_host(tree: PyTree) -> Any:
    """Returns the tree with NumPy leaves; tracers are kept."""
    if is_traced(tree):
        return tree
    return jax.tree.map(np.asarray, sharding.to_host(tree))


def add(a: PyTree, b: PyTree) -> Any:
    """Returns `a + b` of two trees; booleans are counted."""
    return _map(_add_traced, _add_on_host, a, b)


def add_arrays(a: Array | Scalar, b: Array | Scalar) -> Any:
    """Returns `a + b` of two arrays: `add` without the cost of looking through trees."""
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return _add_traced(a, b)
    return _add_on_host(a, b)


def minimum(a: PyTree, b: PyTree) -> Any:
    """Returns the elementwise minimum of two trees."""
    return _map(jnp.minimum, np.minimum, a, b)


def maximum(a: PyTree, b: PyTree) -> Any:
    """Returns the elementwise maximum of two trees."""
    return _map(jnp.maximum, np.maximum, a, b)


def concatenate(trees: Sequence[Any], *, axis: int) -> Any:
    """Lays trees of arrays end to end."""
    if len(trees) == 1:
        return trees[0]
    func = jnp.concatenate if is_traced(*trees) else np.concatenate
    return jax.tree.map(lambda *chunks: func(chunks, axis=axis), *trees)


def take_first(tree: PyTree, num: int | None, *, axis: int) -> Any:
    """Returns the first `num` entries of every array; all of them if `num` is `None`."""
    if num is None:
        return tree
    index = (slice(None),) * axis + (slice(num),)
    return jax.tree.map(lambda x: x[index] if x.shape[axis] > num else x, tree)


def size(tree: PyTree, *, axis: int) -> int:
    """Returns the number of entries of the arrays of a tree, which are all as long."""
    return max((x.shape[axis] for x in jax.tree.leaves(tree)), default=0)


@functools.partial(jax.jit, static_argnames="size", inline=True)
def sum_by_index(values: jax.Array, index: jax.Array, size: int) -> jax.Array:
    """Returns the sum of the values at each index, `Array["size"]`, inside jit.

    Scattered values are added one after another, and in f32 a single batch of images
    can have more pixels than can be counted so. Hence parts are summed first.

    Args:
      values: `Array["n"]`; of bool, the true ones are counted.
      index: Where each is added, `Int["n"]` in `[0, size)`.
      size: Number of sums.
    """
    if values.dtype == bool:
        values = values.astype(jnp.int32)
    num_parts = -(-len(values) // _PART)
    missing = num_parts * _PART - len(values) if num_parts > 1 else 0
    values, index = (
        jnp.pad(x, (0, missing)).reshape(max(num_parts, 1), -1) for x in (values, index)
    )
    zeros = jnp.zeros(size, values.dtype)
    sums = jax.vmap(lambda value, at: zeros.at[at].add(value))(values, index)
    return sums.sum(axis=0)


@functools.lru_cache(maxsize=64)
def accumulator_dtype(dtype: DType) -> np.dtype:
    """Returns the dtype that sums are kept in on the host."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    if jnp.issubdtype(dtype, jnp.floating):  # bf16 too, which NumPy does not know
        return np.dtype(np.float64)
    if jnp.issubdtype(dtype, jnp.unsignedinteger):
        return np.dtype(np.uint64)
    return np.dtype(np.int64)


def _map(traced: Callable, on_host: Callable, a: PyTree, b: PyTree) -> Any:
    if is_traced(a, b):
        return jax.tree.map(traced, a, b)
    a, b = sharding.to_host((a, b))  # one transfer
    return jax.tree.map(on_host, a, b)


def _add_traced(a: Array | Scalar, b: Array | Scalar) -> Any:
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.dtype == bool and b.dtype == bool:
        return a.astype(jnp.int32) + b.astype(jnp.int32)
    return a + b


def _add_on_host(a: Array | Scalar, b: Array | Scalar) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    dtype = np.promote_types(accumulator_dtype(a.dtype), accumulator_dtype(b.dtype))
    return np.asarray(a.astype(dtype) + b.astype(dtype))
