"""Sliced metrics: one value of a metric per value of a key."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Bool, PyTree, typechecked
from kauldron.metrics import base, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceBy(base.Metric):
    """A metric for each value of a key: per class, per domain, per source.

    Each slice is measured by masking out the others. The value is a dict, name of the
    slice to value. A slice without examples is NaN: masked ones, as padding, are in no
    slice, nor is an example whose value is none of `slices`.

    Attributes:
      metric: The metric; its `get_state` takes a `mask`.
      by: Key to what is sliced by, `Array["*b"]` or `Array["*b 1"]`, numbers of any
        dtype; its axes are the leading axes of what the metric weighs.
      slices: Name to value; or names of 0, 1, ...; or how many: `3` is
        `{'0': 0, '1': 1, '2': 2}`.

    Raises:
      TypeError: If the metric takes no mask.
      ValueError: If the slices are none of these, or `by` holds no numbers.

    Example:

    ```python
    kd.metrics.SliceBy(
        metric=kd.metrics.Accuracy(logits="preds.logits", labels="batch.label"),
        by="batch.domain",
        slices={"photo": 0, "sketch": 1},
    )
    ```
    """

    metric: base.Metric
    by: kontext.Key = kontext.REQUIRED
    slices: int | Sequence[str] | Mapping[str, int]

    @flax.struct.dataclass
    class State(base_state.State["SliceBy"]):
        """Name of the slice -> state of the metric, and number of examples."""

        states: PyTree[base_state.State] = None
        counts: PyTree[base_state.AverageState] = None

        @classmethod
        def empty(cls) -> Self:
            return cls()

        def merge(self, other: Self) -> Self:
            if self.states is None or other.states is None:
                return self if other.states is None else other
            states = {k: s.merge(other.states[k]) for k, s in self.states.items()}
            counts = {k: c.merge(other.counts[k]) for k, c in self.counts.items()}
            return dataclasses.replace(self, states=states, counts=counts)

        def finalize(self) -> Self:
            if self.states is None:
                return self
            states = {k: s.finalize() for k, s in self.states.items()}
            return dataclasses.replace(self, states=states)

        def compute(self) -> dict[str, Any]:
            states = self.states or {}
            return {
                name: _compute(state, self.counts[name].total)
                for name, state in states.items()
            }

    def __post_init__(self) -> None:
        if "mask" not in inspect.signature(self.metric.get_state).parameters:
            raise TypeError(
                "SliceBy masks out the other slices, but the `get_state` of "
                f"{type(self.metric).__name__} takes no `mask`."
            )

        names = self.slices if isinstance(self.slices, Sequence) else ()
        slices = self._named_slices()
        is_wrong = any(not isinstance(x, int | np.integer) for x in slices.values())
        if not slices or len(names) > len(slices) or is_wrong:
            raise ValueError(
                "`slices` of SliceBy is a number >= 1, different names, or a dict from "
                f"name to integer: got {self.slices!r}."
            )

    def __kontext_keys__(self) -> dict[str, Any]:
        keys = kontext.get_keypaths(self.metric)
        return {**keys, "by": self.by}

    def context_keys(self) -> tuple[str, ...] | None:
        keys = self.metric.context_keys()
        return None if keys is None else (*keys, str(self.by))

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        found = self.metric.check_keys(context, field=f"{field}.metric")
        return found + kontext.check_keys(context, {"by": self.by}, prefix=field)

    def __metric_names__(self) -> list[str] | None:
        return list(self._named_slices())

    @typechecked
    def get_state(
        self, by: Array, mask: Array | float | None = None, **kwargs: Any
    ) -> State:
        states, counts = {}, {}
        by = self._to_numbers(by)
        for name, value in self._named_slices().items():
            is_inside = _equal(by, value)
            weights = is_inside if mask is None else _multiply(is_inside, mask)
            states[name] = self.metric.get_state(mask=weights, **kwargs)
            counts[name] = base_state.AverageState.from_values(weights.astype(bool))
        return self.State(states=states, counts=counts)

    def _to_numbers(self, by: Array) -> Any:
        # Not `jnp.asarray`: 64 bits would lose their upper half.
        by = by if isinstance(by, jax.Array) else np.asarray(by)
        if by.dtype == bool or jnp.issubdtype(by.dtype, jnp.number):
            return by
        raise ValueError(
            f"SliceBy needs numbers to slice by: key {self.by!r} is {by.dtype} "
            f"{by.shape}. Make integers of strings in the pipeline, such as their place in "
            "a list."
        )

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        kwargs = self.metric._resolve_kwargs(context)
        by = kontext.resolve_from_keypaths(
            context, {"by": self.by}, prefix=type(self).__name__
        )
        return {**kwargs, **by}

    def _named_slices(self) -> Mapping[str, int]:
        if isinstance(self.slices, Mapping):
            return self.slices
        names = self.slices
        names = map(str, range(names)) if isinstance(names, int) else names
        return {name: i for i, name in enumerate(names)}


def _equal(by: Array, value: int) -> jax.Array:
    """Returns where numbers of any dtype have a value, which may not fit into it."""
    if by.dtype == bool:
        by = by.astype(np.int32)
    if jnp.issubdtype(by.dtype, jnp.integer):
        bounds = jnp.iinfo(by.dtype)
        if not bounds.min <= value <= bounds.max:
            return jnp.zeros(by.shape, bool)
        value = by.dtype.type(value)
    return jnp.asarray(by == value)


def _compute(state: base_state.State, count: Array) -> Any:
    """Returns the value of a slice; NaN for each number if nothing is in it."""
    if count > 0:
        return state.compute()
    return jax.tree.map(lambda x: np.full(np.shape(x), np.nan)[()], state.compute())


def _multiply(is_inside: Bool, mask: Array | float) -> Any:
    """Returns the mask where `is_inside`; both may lack trailing axes."""
    both = is_inside, jnp.asarray(mask)
    num_axes = max(x.ndim for x in both)
    is_inside, weights = (
        x.reshape(*x.shape, *(1,) * (num_axes - x.ndim)) for x in both
    )
    return jnp.where(is_inside, weights, jnp.zeros_like(weights))
