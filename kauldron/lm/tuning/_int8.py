"""Frozen weights in eight bits: one scale for each output of a matrix."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from kauldron.ktyping import PyTree
from kauldron.lm.tuning import _low_rank

_INT8, _SCALE = "int8", "scale"


def quantize(params: PyTree, names: PyTree) -> Any:
    """Returns the weights, each matrix as `{"int8": ..., "scale": f32}`.

    The scale of an output is the largest of its weights, over 127, so that the error of a
    weight is half of the scale at most. What is no matrix stays as it is, and so do
    embedding and head, whose rows are of very different sizes.

    Args:
      params: Nested dicts of weights.
      names: The same tree, with the logical names of the axes.
    """
    flat, flat_names, small = _low_rank.flatten(params), _low_rank.flatten(names), {}
    for path, weight in flat.items():
        axes_names = tuple(flat_names[path])
        matrix = _low_rank.Matrix.of_names(weight.shape, axes_names)
        if matrix is None or "vocab" in axes_names:
            small[path] = weight
            continue
        first = matrix.num_stacked
        axes = tuple(range(first, first + matrix.num_in))
        small[path] = _steps(weight, axes)
    return traverse_util.unflatten_dict(small)


def quantize_like(params: PyTree, base: PyTree) -> Any:
    """Returns the weights as another tree keeps its own, placed where these are."""

    def keep(like: Any, weight: Any) -> Any:
        if not _is_small(like):
            return jnp.asarray(weight, like.dtype)
        sizes = like[_SCALE].shape
        return _steps(weight, tuple(i for i, size in enumerate(sizes) if size == 1))

    return jax.tree.map(keep, base, params, is_leaf=_is_small)


def specs(base: PyTree, dtype: Any) -> Any:
    """Returns the shapes and dtypes of what `dequantize` gives."""

    def spec(x: Any) -> jax.ShapeDtypeStruct:
        if _is_small(x):
            return jax.ShapeDtypeStruct(x[_INT8].shape, dtype)
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    return jax.tree.map(spec, base, is_leaf=_is_small)


@functools.partial(jax.jit, static_argnames="axes")
def _steps(weight: Any, axes: tuple[int, ...]) -> dict[str, jax.Array]:
    # One program of each shape: operations one by one would be eight, which JAX keeps.
    wide = jnp.asarray(weight, jnp.float32)
    scale = jnp.abs(wide).max(axis=axes, keepdims=True) / 127
    steps = jnp.round(wide / jnp.where(scale == 0, 1, scale))
    return {_INT8: steps.astype(jnp.int8), _SCALE: scale}


def _is_small(x: object) -> bool:
    return isinstance(x, dict) and set(x) == {_INT8, _SCALE}


def dequantize(params: PyTree, dtype: Any) -> Any:
    """Returns the weights that `quantize` kept; others as they are."""

    def widen(x: Any) -> Any:
        if not _is_small(x):
            return x
        return (x[_INT8].astype(jnp.float32) * x[_SCALE]).astype(dtype)

    return jax.tree.map(widen, params, is_leaf=_is_small)
