"""Metric states: small mergeable pytrees, the algebra behind every measurement.

For every state class: `merge` is associative and commutative up to rounding, `empty()`
is its identity, `finalize` is idempotent, and `compute` runs on the host.

Inside jit, states merge on the devices in their own dtypes. Outside, `merge` fetches them
and adds up in f64 and int64, so that no count stands still at 2^24. Code that merges
many batches should lag a few behind, so that no merge has to wait for a device.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import sharding
from kauldron.ktyping import Array, Bool, DType, Num, Scalar, typechecked
from kauldron.metrics import arrays, exact_sums, shared_parts

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
      bad_labels: Labels that are not classes, as `check_labels` records them; `None` if
        there are no labels. Every `merge` merges them, every `compute` raises
        `LabelError` if there are any.
    """

    parent: _MetricT = flax.struct.field(pytree_node=False, default=EMPTY, kw_only=True)
    bad_labels: Any = flax.struct.field(default=None, kw_only=True)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "merge" in vars(cls):
            cls.merge = _with_common_fields(cls.merge)
            if "adds_up" not in vars(cls):  # what a base says is of its own `merge`
                cls.adds_up = State.adds_up
        if "compute" in vars(cls):
            cls.compute = _with_label_check(cls.compute)

    @classmethod
    def empty(cls) -> Self:
        """Returns the identity of `merge`."""
        raise NotImplementedError(f"{cls.__qualname__} must define `empty()`.")

    def merge(self, other: Self) -> Self:
        """Returns the state of both sets of examples together."""
        raise NotImplementedError(f"{type(self).__qualname__} must define `merge()`.")

    def adds_up(self) -> bool:
        """Whether `merge` adds all arrays elementwise, and does nothing else.

        Many such states are merged at once. A class that overrides `merge` overrides
        this, too, if it is still so.
        """
        return False

    def finalize(self) -> Self:
        """Returns the state with chunks that `merge` collected put together."""
        return self

    def compute(self) -> Any:
        """Returns the value: a number, a tree of numbers, or something to show.

        Runs on the host, outside jit.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must define `compute()`.")

    @staticmethod
    def isinstance(value: object) -> bool:
        """Whether `value` is a state; usable as `is_leaf` of `jax.tree.map`."""
        return isinstance(value, State)


def _with_common_fields(merge: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a `merge`: refuses states of different metrics, merges bad labels."""

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
            merged = dataclasses.replace(merged, parent=parents[0])
        bad_labels = _merge_bad_labels(self.bad_labels, other.bad_labels)
        if bad_labels is not merged.bad_labels:
            merged = dataclasses.replace(merged, bad_labels=bad_labels)
        return merged

    return checked


def _merge_bad_labels(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a.merge(b)


def _with_label_check(compute: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a `compute` so that labels that are not classes are an error."""

    @functools.wraps(compute)
    def checked(self: State) -> Any:
        if self.bad_labels is not None:
            self.bad_labels.raise_if_any(None if self.parent is EMPTY else self.parent)
        return compute(self)

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
      total: Sum of the unmasked values; of single examples, with leading axes.
      count: Number of unmasked values (sum of the mask).
    """

    total: Num["*n"]
    count: Num["*#n"]

    @classmethod
    def empty(cls) -> Self:
        return cls(total=np.zeros((), np.float32), count=np.zeros((), np.float32))

    @classmethod
    @typechecked
    def from_values(
        cls, values: Array | Scalar, *, mask: Array | float | None = None
    ) -> Self:
        """Sums `values` where `mask` is set.

        Args:
          values: Any shape and dtype; summed in f32 at least. Bools with a mask of bools
            are counted, in `i32`.
          mask: Weights; `None` counts everything. Its axes are the leading axes of
            `values`: missing trailing axes are added, axes of size 1 are broadcast.

        Raises:
          ValueError: If the mask does not fit the values.
        """
        x = jnp.asarray(values)
        x = x if x.ndim else x.reshape(1)
        if mask is not None and x.dtype == bool and jnp.asarray(mask).dtype == bool:
            return cls(*_count(x, broadcast_mask(mask, x.shape)))
        x = arrays.to_float(x)
        if mask is None:
            return cls(total=x.sum(), count=jnp.float32(x.size))
        weights, is_zero, count = _weigh(mask, shape=x.shape, dtype=x.dtype)
        # Chosen, not multiplied: a masked NaN must not become part of the sum.
        weighted = jax.lax.select(is_zero, jnp.zeros_like(x), x * weights)
        return cls(total=weighted.sum(), count=count)

    def adds_up(self) -> bool:
        return True

    def merge(self, other: Self) -> Self:
        shapes = {np.shape(self.total), np.shape(other.total)} - {()}
        if len(shapes) > 1:
            raise ValueError(
                "Averages of different shapes cannot be merged: got totals "
                f"{np.shape(self.total)} and {np.shape(other.total)}."
            )
        total = exact_sums.add_arrays(self.total, other.total)
        count = exact_sums.add_arrays(self.count, other.count)
        return dataclasses.replace(self, total=total, count=count)

    @typechecked
    def mean(self) -> jax.Array | np.ndarray:
        """Returns the mean, 0 if nothing was counted; usable inside jit.

        So a loss of nothing trains nothing. As a measurement, it is undefined: `compute`.
        """
        return self.total / jnp.where(self.count == 0, 1, self.count)

    def compute(self) -> np.ndarray:
        """Returns the mean, NaN where nothing was counted."""
        total, count = map(np.asarray, sharding.to_host((self.total, self.count)))
        if total.shape != count.shape:
            total, count = np.broadcast_arrays(total, count)
        is_wide = max(total.dtype.itemsize, count.dtype.itemsize) > 4
        dtype = np.float64 if is_wide else np.float32
        nothing = np.full(total.shape, np.nan, dtype)
        return np.divide(total, count, out=nothing, where=count != 0)


@flax.struct.dataclass
class CollectingState(State[_MetricT]):
    """Lays all fields of a subclass end to end, on the host.

    Kept for existing code: `AutoState` with `concat_field()` says the same per field.
    """

    @classmethod
    def empty(cls) -> Self:
        return cls(**cls._no_data())

    def merge(self, other: Self) -> Self:
        if self._is_empty or other._is_empty:
            return other if self._is_empty else self
        mine, others = exact_sums.to_host((self._data(), other._data()))
        return dataclasses.replace(
            self, **exact_sums.concatenate([mine, others], axis=0)
        )

    def compute(self) -> types.SimpleNamespace:
        """Returns a namespace of the fields; they are `None` if there was nothing."""
        data = self.finalize()._data()
        return types.SimpleNamespace(**exact_sums.to_host(data))

    @classmethod
    def _data_fields(cls) -> list[str]:
        return [
            f.name
            for f in dataclasses.fields(cls)
            if f.metadata.get("pytree_node", True) and f.name != "bad_labels"
        ]

    @classmethod
    def _no_data(cls) -> dict[str, Any]:
        return dict.fromkeys(cls._data_fields())

    def _data(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._data_fields()}

    @property
    def _is_empty(self) -> bool:
        return all(value is None for value in self._data().values())


@flax.struct.dataclass
class CollectFirstState(CollectingState[_MetricT]):
    """Keeps the first examples of all fields of a subclass.

    Attributes:
      keep_first: How many; `None` keeps all.
    """

    keep_first: int | None = flax.struct.field(
        pytree_node=False, default=None, kw_only=True
    )

    @classmethod
    def empty(cls, *, keep_first: int | None = None) -> Self:
        return cls(**cls._no_data(), keep_first=keep_first)

    def merge(self, other: Self) -> Self:
        if self._is_empty or other._is_empty:
            return other if self._is_empty else self
        if self.keep_first != other.keep_first:
            raise ValueError(
                "Cannot merge states that keep different numbers of examples: "
                f"`keep_first` is {self.keep_first} and {other.keep_first}."
            )
        missing = self.keep_first
        if missing is not None:
            missing -= exact_sums.size(self._data(), axis=0)
            if missing <= 0:  # decided by shapes alone: nothing is fetched
                return self
        rest = exact_sums.take_first(other._data(), missing, axis=0)
        mine, rest = exact_sums.to_host((self._data(), rest))
        return dataclasses.replace(self, **exact_sums.concatenate([mine, rest], axis=0))

    def finalize(self) -> Self:
        if self._is_empty:
            return self
        first = exact_sums.take_first(self._data(), self.keep_first, axis=0)
        return dataclasses.replace(self, **first)


@shared_parts.shared
def _weigh(
    mask: Array | float, *, shape: tuple[int, ...], dtype: DType
) -> tuple[Array, Array, Array]:
    """Returns weights of values, where they are zero, and their sum."""
    weights = broadcast_mask(mask, shape).astype(dtype)
    return weights, weights == 0, weights.sum()


def _count(hits: Bool["*a"], mask: Bool["*a"]) -> tuple[Array, Array]:
    """Returns how many of the unmasked values are true, and how many there are.

    In one reduction: XLA on CPUs splits each reduction of a single array into several
    programs, and these are what takes long to compile.
    """
    counted = (hits & mask).astype(jnp.int32), mask.astype(jnp.int32)
    counts = jax.lax.reduce(
        counted,
        (np.int32(0), np.int32(0)),
        _add_pairs,  # one function: programs with it are known to be the same
        tuple(range(mask.ndim)),
    )
    return counts[0], counts[1]


def _add_pairs(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, Any]:
    return a[0] + b[0], a[1] + b[1]


@typechecked
def broadcast_mask(mask: Array | float, shape: tuple[int, ...]) -> Array:
    """Returns `mask` with trailing axes added and broadcast to `shape`.

    Trailing axes of 1 that are too many are dropped: `Array["b 1"]`, the shape of
    labels, fits values `Array["b"]`.

    Raises:
      ValueError: If that is impossible.
    """
    weights = jnp.asarray(mask)
    if weights.shape == shape:
        return weights
    if weights.ndim > len(shape) and set(weights.shape[len(shape) :]) == {1}:
        weights = weights.reshape(weights.shape[: len(shape)])
    padded = weights.reshape(*weights.shape, *(1,) * (len(shape) - weights.ndim))
    try:
        return jnp.broadcast_to(padded, shape)
    except ValueError:
        raise ValueError(
            f"The mask does not fit the values: mask {weights.shape}, values {shape}. "
            "Every axis of the mask must be 1 or equal that of the values."
        ) from None
