"""Bootstrap confidence intervals."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from kauldron import kontext
from kauldron.ktyping import Array, Bool, PyTree, Scalar
from kauldron.metrics import auto_state, base, base_state, exact_sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap(base.Metric):
    """A metric with a bootstrap confidence interval.

    The state of every example is kept, in host memory. Examples are drawn with
    replacement, as many as there are, and the metric is computed for each draw. The
    value is a dict: `value` (of all examples), `low` and `high` (percentiles of the
      draws). If
    the metric computes a dict, so are they.

    Fully masked examples, such as padding, are never drawn. Draws for which the metric
    is not defined (NaN), such as the area under a curve of one class alone,
    are left out of the interval, and their number is logged. Where the metric of all
    examples is NaN, or no draw is left, so is the interval.

    Attributes:
      metric: A metric whose inputs all have the examples as first axis, and whose states
        are averages, or sums, minima, maxima, concatenations and such states of
        `AutoState`.
      num_resamples: How many draws.
      confidence: Share of the draws inside the interval, in (0, 1).
      seed: Seed of the draws: equal seeds, equal intervals.

    Raises:
      ValueError: If a parameter is out of range, or an input has other examples.
      TypeError: If the states of the metric are of another kind.

    Reference: Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
    """

    metric: base.Metric
    num_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    @flax.struct.dataclass
    class State(auto_state.AutoState["Bootstrap"]):
        """What is known of single examples, the first axis of every array.

        Attributes:
          states: States of the metric.
          is_counted: Whether an example is not masked, `Bool["n"]`.
        """

        states: base_state.State = auto_state.concat_field()
        is_counted: Bool["n"] = auto_state.concat_field()

        def compute(self) -> dict[str, Any]:
            data = super().compute()
            if data.states is None:
                return {}
            return self.parent._intervals(data.states, data.is_counted)

    def __post_init__(self) -> None:
        if self.num_resamples < 1 or not 0 < self.confidence < 1:
            raise ValueError(
                "Bootstrap needs `num_resamples >= 1` and `confidence` in (0, 1): got "
                f"num_resamples={self.num_resamples}, confidence={self.confidence}."
            )

    def __kontext_keys__(self) -> dict[str, Any]:
        return kontext.get_keypaths(self.metric)

    def context_keys(self) -> tuple[str, ...] | None:
        return self.metric.context_keys()

    def check_keys(
        self, context: kontext.Context, *, field: str
    ) -> list[kontext.KeyProblem]:
        return self.metric.check_keys(context, field=f"{field}.metric")

    def __metric_names__(self) -> list[str] | None:
        return ["value", "low", "high"]

    def get_state(self, **kwargs: Any) -> State:
        # What has no axis, such as the step, belongs to all examples.
        axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, kwargs)
        sizes = {len(x) for x in jax.tree.leaves(kwargs) if jnp.ndim(x)}
        if len(sizes) != 1:
            shapes = jax.tree.map(jnp.shape, kwargs)
            raise ValueError(
                "Bootstrap needs the examples as first axis of all inputs of "
                f"{type(self.metric).__name__}: got shapes {shapes}."
            )

        def of_one_example(values: dict[str, Any]) -> base_state.State:
            one = jax.tree.map(
                lambda x, whole: x[None] if jnp.ndim(whole) else x, values, kwargs
            )
            return self.metric.get_state(**one)

        states = jax.vmap(of_one_example, in_axes=(axes,))(kwargs)
        _check_can_be_drawn(self.metric, states)
        (size,) = sizes
        return self.State(
            states=states, is_counted=_is_counted(kwargs.get("mask"), size)
        )

    def _resolve_kwargs(self, context: kontext.Context) -> dict[str, Any]:
        return self.metric._resolve_kwargs(context)

    def _intervals(
        self, states: base_state.State, is_counted: np.ndarray
    ) -> dict[str, Any]:
        if states.bad_labels is not None:  # no sums of records: once, of all examples
            states.bad_labels.raise_if_any(self.metric)
            states = dataclasses.replace(states, bad_labels=None)
        counted = np.flatnonzero(is_counted)
        if not counted.size:
            nothing = _draw(states, np.arange(len(is_counted)))
            undefined = jax.tree.map(_to_nan, nothing.compute())
            return dict.fromkeys(("value", "low", "high"), undefined)
        rng = np.random.default_rng(self.seed)
        value = _compute(_draw(states, counted))
        draws = [
            _compute(
                _draw(states, counted[rng.integers(counted.size, size=counted.size)])
            )
            for _ in range(self.num_resamples)
        ]
        self._tell_undefined(draws)
        outside = (1 - self.confidence) / 2

        def quantile(share: float) -> Any:
            return jax.tree.map(lambda v, *x: _quantile(v, x, share), value, *draws)

        return {
            "value": value,
            "low": quantile(outside),
            "high": quantile(1 - outside),
        }

    def _tell_undefined(self, draws: list[Any]) -> None:
        num_undefined = sum(
            any(np.isnan(x).any() for x in jax.tree.leaves(draw)) for draw in draws
        )
        if num_undefined:
            logging.warning(
                "Bootstrap(%s): the value is not defined (NaN) in %d of %d draws. The "
                "interval is that of the others.",
                type(self.metric).__name__,
                num_undefined,
                len(draws),
            )


def _is_counted(mask: Array | float | None, size: int) -> Bool["{size}"]:
    """Returns which examples have a weight, `Bool["size"]`."""
    if mask is None:
        return jnp.ones(size, bool)
    has_weight = jnp.asarray(mask, bool)
    has_weight = has_weight.any(axis=tuple(range(1, has_weight.ndim)))
    return jnp.broadcast_to(has_weight, (size,))


def _check_can_be_drawn(metric: base.Metric, state: base_state.State) -> None:
    if not _can_be_drawn(state):
        raise TypeError(
            "Bootstrap needs a metric whose states are averages, or sums, minima, maxima "
            f"and concatenations of `AutoState`: got {type(metric).__name__} with "
            f"{type(state).__qualname__}."
        )


def _can_be_drawn(state: base_state.State) -> bool:
    if not isinstance(state, auto_state.AutoState):
        return isinstance(state, base_state.AverageState)
    return all(
        kind.verb in (*_REDUCTIONS, "concatenate")
        or (kind.verb == "merge" and _can_be_drawn(getattr(state, name)))
        for name, kind in auto_state.data_kinds(state).items()
    )


def _draw(states: base_state.State, index: np.ndarray) -> Any:
    """Returns the merged state of some examples."""
    if isinstance(states, base_state.AverageState):
        return jax.tree.map(lambda x: _sum(x[index]), states)
    fields = {
        name: _draw_field(kind, getattr(states, name), index)
        for name, kind in auto_state.data_kinds(states).items()
    }
    return dataclasses.replace(states, **fields)


def _draw_field(kind: Any, value: PyTree, index: np.ndarray) -> Any:
    if kind.verb == "merge":
        return _draw(value, index)
    if kind.verb == "concatenate":
        return jax.tree.map(lambda x: _join(x[index], kind.axis), value)
    return jax.tree.map(lambda x: _REDUCTIONS[kind.verb](x[index]), value)


def _sum(x: np.ndarray) -> np.ndarray:
    return x.sum(axis=0, dtype=exact_sums.accumulator_dtype(x.dtype))


def _join(x: np.ndarray, axis: int) -> np.ndarray:
    """Lays `x[0]`, `x[1]`, ... end to end along an axis."""
    x = np.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


# What merging does -> the same of arrays with the examples as first axis.
_REDUCTIONS = {
    "sum": _sum,
    "take the minimum of": functools.partial(np.min, axis=0),
    "take the maximum of": functools.partial(np.max, axis=0),
}


def _compute(state: base_state.State) -> Any:
    """Returns the value; NaN for an average of nothing."""
    value = state.compute()
    if isinstance(state, base_state.AverageState):
        value = np.where(np.asarray(state.count) == 0, np.nan, value)
    return value


def _to_nan(x: Array | Scalar) -> np.ndarray:
    return np.full(np.shape(x), np.nan)


def _quantile(
    value: Array | Scalar, draws: Sequence[Array | Scalar], share: float
) -> Any:
    """Returns the quantile of the draws that are defined; NaN if `value` is."""

    def of_numbers(x: np.ndarray) -> Any:
        x = x[~np.isnan(x)]
        if not x.size:
            return np.nan
        low, high = (np.quantile(x, share, method=m) for m in ("lower", "higher"))
        # Between infinities there is nothing to interpolate.
        return np.quantile(x, share) if np.isfinite([low, high]).all() else high

    x = np.stack([np.asarray(draw) for draw in draws])
    quantiles = np.apply_along_axis(of_numbers, 0, x)
    return np.where(np.isnan(value), np.nan, quantiles)[()]
