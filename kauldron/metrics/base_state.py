"""States: small pytrees that can be merged, the algebra behind every measurement.

For every state class: `merge` is associative and commutative up to rounding, `empty()`
is its identity, `finalize` is idempotent, and `compute` runs on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

_MetricT = TypeVar("_MetricT")


class _Empty:
    """Stands for "no parent known"."""

    def __repr__(self) -> str:
        return "EMPTY"

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Any = _Empty()


@flax.struct.dataclass
class State(Generic[_MetricT]):
    """Base of all states. Subclasses are `@flax.struct.dataclass`es too.

    Attributes:
      parent: The metric that made the state; static, set by `Metric.get_state`.
    """

    parent: _MetricT = flax.struct.field(pytree_node=False, default=EMPTY, kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "merge" in vars(cls):
            cls.merge = _with_parent_check(cls.merge)

    @classmethod
    def empty(cls) -> Self:
        """Returns the identity of `merge`."""
        raise NotImplementedError(f"{cls.__qualname__} must define `empty()`.")

    def merge(self, other: Self) -> Self:
        """Returns the state of both sets of examples together."""
        raise NotImplementedError(f"{type(self).__qualname__} must define `merge()`.")

    def finalize(self) -> Self:
        """Returns the state with chunks that `merge` collected put together."""
        return self

    def compute(self) -> Any:
        """Returns the value: a number, a tree of numbers, or something to show.

        Runs on the host, outside jit.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must define `compute()`.")

    @staticmethod
    def isinstance(value: Any) -> bool:
        """Whether `value` is a state; usable as `is_leaf` of `jax.tree.map`."""
        return isinstance(value, State)


def _with_parent_check(merge: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a `merge` so that it refuses states of different metrics."""

    @functools.wraps(merge)
    def checked(self: State, other: State) -> State:
        parents = [s.parent for s in (self, other) if s.parent is not EMPTY]
        if len(parents) == 2 and parents[0] != parents[1]:
            raise ValueError(
                "Cannot merge states of different metrics: "
                f"{parents[0]!r} and {parents[1]!r}."
            )
        merged = merge(self, other)
        if parents and merged.parent is EMPTY:
            merged = merged.replace(parent=parents[0])
        return merged

    return checked


@flax.struct.dataclass
class EmptyState(State[_MetricT]):
    """Nothing was measured: `compute` gives no value at all."""

    @classmethod
    def empty(cls) -> Self:
        return cls()

    def merge(self, other: Self) -> Self:
        del other
        return self

    def compute(self) -> dict[str, Any]:
        return {}


@flax.struct.dataclass
class AverageState(State[_MetricT]):
    """A weighted mean, kept as a sum and a count.

    Attributes:
      total: Sum of the unmasked values, `f32[]`.
      count: Number of unmasked values (sum of the mask), `f32[]`.
    """

    total: jax.Array
    count: jax.Array

    @classmethod
    def empty(cls) -> Self:
        return cls(total=jnp.zeros((), jnp.float32), count=jnp.zeros((), jnp.float32))

    @classmethod
    def from_values(cls, values: Any, *, mask: Any = None) -> Self:
        """Sums `values` where `mask` is set.

        Args:
          values: Any shape and dtype; summed in f32 at least.
          mask: Weights; `None` counts everything. Its axes are the leading axes of
            `values`: missing trailing axes are added, axes of size 1 are broadcast.

        Raises:
          ValueError: If the mask does not fit the values.
        """
        values = jnp.atleast_1d(jnp.asarray(values))
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
        if mask is None:
            return cls(total=values.sum(), count=jnp.float32(values.size))
        mask = broadcast_mask(mask, values.shape).astype(values.dtype)
        # `where` and not `*`: a masked NaN must not become part of the sum.
        weighted = jnp.where(mask == 0, 0, values * mask)
        return cls(total=weighted.sum(), count=mask.sum())

    def merge(self, other: Self) -> Self:
        return type(self)(
            total=self.total + other.total, count=self.count + other.count
        )

    def mean(self) -> jax.Array:
        """Returns the mean, 0 if nothing was counted; usable inside jit."""
        return self.total / jnp.where(self.count == 0, 1, self.count)

    def compute(self) -> np.ndarray:
        total, count = np.asarray(self.total), np.asarray(self.count)
        return np.divide(total, count, out=np.zeros_like(total), where=count != 0)


def broadcast_mask(mask: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns `mask` with trailing axes added and broadcast to `shape`.

    Raises:
      ValueError: If that is impossible.
    """
    mask = jnp.asarray(mask)
    padded = mask.reshape(*mask.shape, *(1,) * (len(shape) - mask.ndim))
    try:
        return jnp.broadcast_to(padded, shape)
    except ValueError:
        raise ValueError(
            f"The mask does not fit the values: mask {mask.shape}, values {shape}. "
            "Every axis of the mask must be 1 or equal that of the values."
        ) from None
