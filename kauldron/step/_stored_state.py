"""Dtypes of the optimizer state between updates, with stochastic rounding.

An optimizer adds small steps to large values. In bf16, whose values are 2^-8 apart, a step
of less than half of that is lost if it is rounded to the nearest value: a second moment
with decay 0.999 never decays, an average of parameters never moves, and a parameter with a
small learning rate never moves either. So updates are computed in f32, values without
noise to hide their rounding stay in f32, and values kept in bf16 are rounded
stochastically, up or down by proximity: small steps then add up correctly on average.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from kauldron.ktyping import Array, DType, Float, PyTree

# Averages of gradients over a few dozen steps, by the state that has them. All else is
# f32: second moments, long averages, copies of parameters, sums, hyperparameters.
_FIRST_MOMENTS: dict[type, str] = {
    optax.ScaleByAdamState: "mu",
    optax.ScaleByAmsgradState: "mu",
    optax.ScaleByBeliefState: "mu",
    optax.ScaleByLionState: "mu",
    optax.ScaleByNovogradState: "mu",
    optax.TraceState: "trace",
    optax.contrib.MuonState: "mu",
}


class RoundedState(NamedTuple):
    """State of an optimizer that is rounded to bf16 at random, and has no `count`.

    Attributes:
      count: Number of updates, `Int32[""]`; the random numbers follow from it.
      inner: State of the optimizer.
    """

    count: jax.Array
    inner: Any


def wrap_optimizer(
    optimizer: optax.GradientTransformation, moments_dtype: DType | None = None
) -> optax.GradientTransformationExtraArgs:
    """Lets an optimizer compute in f32, whatever is stored in 16 bits.

    Its state is made for parameters in f32. Updates of parameters in bf16 lead to values
    of bf16, rounded at random.

    Args:
      optimizer: Of optax.
      moments_dtype: Dtype of first moments, bfloat16 or float32; all other state is then
        kept in f32 at least. `None` leaves the state to the optimizer.

    Returns:
      An optimizer with the same state. If something is rounded, and the state does not
      count updates anywhere, it is the `inner` one of a `RoundedState`.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def store(state: PyTree, rounding: _Rounding) -> Any:
        return (
            state if moments_dtype is None else _store(state, moments_dtype, rounding)
        )

    def init(params: PyTree) -> Any:
        state = optimizer.init(widen(params))
        is_rounded = moments_dtype == jnp.bfloat16 and _has_moments(state)
        if (is_rounded or _has_bf16(params)) and _count_of(state) is None:
            state = RoundedState(jnp.zeros((), jnp.int32), state)
        return store(state, _Rounding(jnp.zeros((), jnp.int32)))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        inner = state.inner if isinstance(state, RoundedState) else state
        updates, new_inner = optimizer.update(
            widen(updates),
            inner if moments_dtype is None else widen(inner),
            widen(params),
            **widen(extra_args),
        )
        count = _count_of(state)
        rounding = _Rounding(jnp.zeros((), jnp.int32) if count is None else count)
        if params is not None:
            updates = _to_bf16_values(updates, params, rounding)
        new_inner = store(new_inner, rounding)
        if isinstance(state, RoundedState):
            return updates, RoundedState(state.count + 1, new_inner)
        return updates, new_inner

    return optax.GradientTransformationExtraArgs(init, update)


def widen(tree: PyTree) -> Any:
    """Returns the tree with its 16-bit floats in f32."""

    def cast(x: Array) -> Any:
        return x.astype(jnp.float32) if _is_16_bit(x) else x

    return jax.tree.map(cast, tree)


def round_at_random(x: Float["*a"], seed: jax.Array) -> Float["*a"]:
    """Rounds to bf16, up or down, so that the expected value is the value itself.

    Values exact in bf16, infinities and NaN stay unchanged. The random numbers depend
    on the position in the array: they are the same on any number of devices.

    Args:
      x: `Float32["*any"]`.
      seed: `UInt32[""]`, a different one each time.
    """
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):
        iota = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        place = place * jnp.uint32(size) + iota
    noise = _mix(_mix(place + jnp.uint32(0x9E3779B9)) ^ seed) >> 16
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    rounded = ((bits + noise) >> 16).astype(jnp.uint16)
    rounded = jax.lax.bitcast_convert_type(rounded, jnp.bfloat16)
    return jnp.where(jnp.isfinite(x), rounded, x.astype(jnp.bfloat16))


def _mix(x: jax.Array) -> jax.Array:
    """Returns a hash of each number, `UInt32["*any"]`: each bit depends on all.

    Threefry takes longer than the update of Adam does on a CPU.

    Reference: Appleby, MurmurHash3, the finaliser of 32 bits.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


class _Rounding:
    """Rounds the arrays of one update, each with random numbers of its own."""

    def __init__(self, count: jax.Array) -> None:
        self._seeds = _seeds(count)

    def __call__(self, x: jax.Array, dtype: DType) -> jax.Array:
        seed = next(self._seeds)
        if dtype == jnp.bfloat16 and x.dtype == jnp.float32:
            return round_at_random(x, seed)
        return x.astype(dtype)


def _count_of(state: PyTree) -> jax.Array | None:
    """Returns the number of updates, if anything in the state counts them."""
    counts = [
        x
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if path
        and jax.tree_util.keystr(path[-1:], simple=True) == "count"
        and jnp.ndim(x) == 0
        and jnp.issubdtype(x.dtype, jnp.integer)
    ]
    return functools.reduce(jnp.add, counts) if counts else None


def _seeds(count: jax.Array) -> Iterator[jax.Array]:
    array = 0
    while True:
        array += 1
        yield _mix(_mix(count.astype(jnp.uint32)) + jnp.uint32(array))


def _has_moments(state: PyTree) -> bool:
    return any(map(_is_moments, jax.tree.leaves(state, is_leaf=_is_moments)))


def _is_moments(x: Array) -> bool:
    return isinstance(x, tuple(_FIRST_MOMENTS))


def _store(state: PyTree, dtype: DType, rounding: _Rounding) -> Any:
    """Returns the state with its first moments in a dtype, and the rest in f32."""

    def store(x: Array) -> Any:
        if not _is_moments(x):
            return widen(x)
        name = next(n for kind, n in _FIRST_MOMENTS.items() if isinstance(x, kind))
        moments = jax.tree.map(
            lambda m: (
                rounding(m, dtype) if jnp.issubdtype(m.dtype, jnp.floating) else m
            ),
            getattr(x, name),
        )
        return widen(x)._replace(**{name: moments})

    return jax.tree.map(store, state, is_leaf=_is_moments)


def _to_bf16_values(updates: PyTree, params: PyTree, rounding: _Rounding) -> Any:
    """Returns updates that lead from parameters in bf16 to values of bf16."""

    def round_update(update: Array, param: Array) -> Any:
        if getattr(param, "dtype", None) != jnp.bfloat16:
            return update
        old = param.astype(jnp.float32)
        return rounding(old + update, jnp.bfloat16).astype(jnp.float32) - old

    return jax.tree.map(round_update, updates, params)


def _has_bf16(tree: PyTree) -> bool:
    dtypes = [getattr(x, "dtype", None) for x in jax.tree.leaves(tree)]
    return any(dtype == jnp.bfloat16 for dtype in dtypes)


def _is_16_bit(x: Array) -> bool:
    dtype = getattr(x, "dtype", None)
    return (
        dtype is not None
        and jnp.issubdtype(dtype, jnp.floating)
        and jnp.dtype(dtype).itemsize < 4
    )
