"""Dtype casts on restore: which saved dtypes may become which.

No number changes silently. Integers may go into any type that holds every one of them.
Floats may go into any float type, as long as finite values stay finite: digits may be
lost, which is what mixed precision is for. No cast changes the kind of a number. Random
keys are bits and the name of their algorithm: they are restored as requested, typed or
raw, but typed keys never as keys of another algorithm.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.checkpoints import _errors
from kauldron.ktyping import Array, DType

_KINDS = (np.bool_, jnp.integer, jnp.floating, jnp.complexfloating)


def is_key(leaf: Array) -> bool:
    """Whether a leaf is an array of typed random keys."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def key_impl(leaf: Array) -> str:
    """Returns the name of the algorithm of typed random keys, as `jax.random` has it."""
    found: list[str] = []
    spec = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    jax.eval_shape(lambda k: found.append(str(jax.random.key_impl(k))), spec)
    return found[0]


def as_saved(leaf: Array) -> Any:
    """Returns what is on disk of a leaf: of typed random keys, the spec of their data.

    A number of Python becomes an array of it.
    """
    if is_key(leaf):
        data = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def describe(leaf: Any) -> str:
    """Returns dtype and shape, as `float32[4, 3]`."""
    dtype = getattr(leaf, "dtype", None)
    name = getattr(dtype, "name", None) or str(dtype)
    return f"{name}[{', '.join(map(str, _shape(leaf)))}]"


def mismatch(expected: Array, found: Array) -> str | None:
    """Returns how a saved array differs from the one expected, `None` if it may fit.

    Args:
      expected: A leaf of a run, or its spec.
      found: What was saved, with `shape` and `dtype`; `key_impl` names the algorithm if
        they were typed random keys.
    """
    if _shape(as_saved(expected)) != _shape(found):
        return _expected(expected, found)
    return dtype_mismatch(expected, found)


def dtype_mismatch(expected: Array, found: Array) -> str | None:
    """As `mismatch`, whatever the shapes are."""
    data = as_saved(expected)
    if kind(data) != kind(found):
        return _expected(expected, found)
    if is_key(expected):
        wanted, impl = key_impl(expected), getattr(found, "key_impl", None)
        if impl not in (None, wanted):
            return f"keys of {impl!r} in the checkpoint, expected those of {wanted!r}"
        return None if found.dtype == data.dtype else _expected(expected, found)
    if jnp.issubdtype(found.dtype, jnp.integer) and not _holds(data.dtype, found.dtype):
        return f"{_expected(expected, found)}, which does not hold all its numbers"
    return None


def kind(leaf: Array) -> str:
    """Returns the kind of numbers that a leaf has."""
    dtype = leaf.dtype
    try:
        return next(
            (k.__name__ for k in _KINDS if jnp.issubdtype(dtype, k)), str(dtype)
        )
    except TypeError:
        return str(dtype)


def is_lossy(saved: DType, wanted: DType) -> bool:
    """Whether finite numbers of one dtype may overflow or change in another one."""
    if saved == wanted or not jnp.issubdtype(saved, jnp.inexact):
        return False
    a, b = jnp.finfo(saved), jnp.finfo(wanted)
    return float(b.max) < float(a.max) or float(b.min) > float(a.min) or b.nmant == 0


def cast(value: np.ndarray, dtype: DType, *, name: str) -> np.ndarray:
    """Returns an array on the host with another dtype.

    Raises:
      CheckpointError: If a finite number does not stay finite.
    """
    if not is_lossy(value.dtype, dtype):
        return _converted(value, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        result = _converted(value, dtype)
    num_lost = int(np.sum(_is_lost(np, value, result)))
    if num_lost:
        raise _errors.CheckpointError(_lost_message(name, value, dtype, num_lost))
    return result


def _converted(value: np.ndarray, dtype: DType) -> np.ndarray:
    # `ml_dtypes` does not cast each of its floats to each other; f32 has all their values.
    floats = all(jnp.issubdtype(x, jnp.floating) for x in (value.dtype, dtype))
    if floats and value.dtype.itemsize == 1 and value.dtype != dtype:
        value = value.astype(np.float32)
    return value.astype(dtype)


def cast_on_devices(value: jax.Array, dtype: DType, *, name: str) -> jax.Array:
    """As `cast`, for an array on devices; the sharding stays."""
    result, num_lost = _cast_and_count(value, np.dtype(dtype))
    if int(num_lost):
        raise _errors.CheckpointError(_lost_message(name, value, dtype, int(num_lost)))
    return result


@functools.partial(jax.jit, static_argnums=1)
def _cast_and_count(value: jax.Array, dtype: DType) -> tuple[jax.Array, jax.Array]:
    result = value.astype(dtype)
    return result, jnp.sum(_is_lost(jnp, value, result))


def _is_lost(xp: Any, value: Array, result: Array) -> Any:
    """Returns where a finite number has overflowed or was clipped to the largest."""
    lost = xp.isfinite(value) & ~xp.isfinite(result)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return lost
    # Types without infinity clip at their largest number.
    info = jnp.finfo(result.dtype)
    largest = float(info.max)
    half_ulp = 2.0 ** (math.floor(math.log2(largest)) - info.nmant - 1)
    wide = value if value.dtype.itemsize >= 4 else value.astype(np.float32)
    limits = jnp.finfo(wide.dtype)
    limit = min(largest + half_ulp, float(limits.max))
    return lost | (xp.isfinite(value) & (xp.abs(wide) > limit))


def _lost_message(name: str, value: Any, dtype: DType, num_lost: int) -> str:
    largest = float(jnp.finfo(dtype).max)
    return (
        f"{name}: {num_lost} of {math.prod(value.shape)} numbers of {describe(value)} in "
        f"the checkpoint are too large for {np.dtype(dtype).name}, whose largest is "
        f"{largest:.6g}. Restore it as {np.dtype(value.dtype).name}."
    )


def _expected(expected: Array, found: Array) -> str:
    return (
        f"{describe(found)} in the checkpoint, expected {describe(as_saved(expected))}"
    )


def _holds(wanted: Array, saved: Array) -> bool:
    a, b = jnp.iinfo(saved), jnp.iinfo(wanted)
    return int(b.min) <= int(a.min) and int(a.max) <= int(b.max)


def _shape(leaf: Array) -> tuple[int, ...]:
    return tuple(getattr(leaf, "shape", None) or ())
