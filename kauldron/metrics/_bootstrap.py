"""Confidence intervals by resampling."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.metrics import _accumulate, auto_state, base, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap(base.Metric):
    """A metric with the interval that it would lie in on another such dataset.

    The state of every example is kept, in host memory. Examples are drawn with
    replacement, as many as there are, and the metric is computed of each draw. The value
    is a dict: `value` (of all examples), `low` and `high` (percentiles of the draws). If
    the metric computes a dict, so are they.

    Attributes:
      metric: A metric whose inputs all have the examples as first axis, and whose states
        add up: an average, or sums and concatenations of `AutoState`.
      num_resamples: How many draws.
      confidence: Share of the draws inside the interval, in (0, 1).
      seed: Seed of the draws: equal seeds, equal intervals.

    Raises:
      ValueError: If a parameter is out of range, or an input has other examples.
      TypeError: If the states of the metric don't add up.

    Reference: Efron 1979, Bootstrap Methods: Another Look at the Jackknife.
    """

    metric: base.Metric
    num_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    @flax.struct.dataclass
    class State(auto_state.AutoState["Bootstrap"]):
        """States of single examples, with the examples as first axis of every array."""

        states: Any = auto_state.concat_field()

        def compute(self) -> dict[str, Any]:
            states = super().compute().states
            if states is None:
                return {}
            return self.parent._intervals(states)

    def __post_init__(self) -> None:
        if self.num_resamples < 1 or not 0 < self.confidence < 1:
            raise ValueError(
                "Bootstrap needs `num_resamples >= 1` and `confidence` in (0, 1): got "
                f"num_resamples={self.num_resamples}, confidence={self.confidence}."
            )

    def __kontext_keys__(self) -> dict[str, Any]:
        return kontext.get_keypaths(self.metric)

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
        _check_adds_up(self.metric, states)
        return self.State(states=states)

    def _resolve_kwargs(self, context: Any) -> dict[str, Any]:
        return self.metric._resolve_kwargs(context)

    def _intervals(self, states: base_state.State) -> dict[str, Any]:
        size = len(jax.tree.leaves(states)[0])
        rng = np.random.default_rng(self.seed)
        everything = _draw(states, np.arange(size))
        draws = [
            _draw(states, rng.integers(size, size=size)).compute()
            for _ in range(self.num_resamples)
        ]
        outside = (1 - self.confidence) / 2

        def quantile(share: float) -> Any:
            return jax.tree.map(lambda *x: np.quantile(x, share, axis=0), *draws)

        return {
            "value": everything.compute(),
            "low": quantile(outside),
            "high": quantile(1 - outside),
        }


def _check_adds_up(metric: base.Metric, state: base_state.State) -> None:
    if isinstance(state, base_state.AverageState):
        return
    if isinstance(state, auto_state.AutoState):
        kinds = [kind for _, kind in auto_state.data_kinds(state)]
        if set(kinds) <= {"sum", "concatenate"}:
            return
    raise TypeError(
        f"Bootstrap needs a metric whose states are averages, or sums and concatenations "
        f"of `AutoState`: got {type(metric).__name__} with {type(state).__qualname__}."
    )


def _draw(states: base_state.State, index: np.ndarray) -> base_state.State:
    """Returns the merged state of some examples."""
    if isinstance(states, base_state.AverageState):
        return jax.tree.map(lambda x: _sum(x, index), states)
    fields = {}
    for name, kind in auto_state.data_kinds(states):
        value = getattr(states, name)
        if kind == "sum":
            fields[name] = jax.tree.map(lambda x: _sum(x, index), value)
        else:
            fields[name] = jax.tree.map(
                lambda x: x[index].reshape(-1, *x.shape[2:]), value
            )
    return dataclasses.replace(states, **fields)


def _sum(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    return x[index].sum(axis=0, dtype=_accumulate.accumulator_dtype(x.dtype))
