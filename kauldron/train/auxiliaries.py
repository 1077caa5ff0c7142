"""Losses, metrics and summaries of one step, and the states they leave behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import flax.struct
import jax
import numpy as np

from kauldron import losses, metrics, sharding
from kauldron.metrics import base_state
from kauldron.utils import config_util, immutabledict

immutabledict.register_pytree()

_NUMBERS = (np.ndarray, np.generic, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auxiliaries(config_util.UpdateFromRootCfg):
    """What is measured besides the update itself.

    Attributes:
      losses: Tree of losses; the trainer's unless given.
      metrics: Tree of metrics; the trainer's unless given.
      summaries: Tree of summaries; the trainer's unless given.
    """

    losses: Mapping[str, Any] = config_util.ROOT_CFG_REF.train_losses
    metrics: Mapping[str, Any] = config_util.ROOT_CFG_REF.train_metrics
    summaries: Mapping[str, Any] = config_util.ROOT_CFG_REF.train_summaries

    def update_context(self, context: Any) -> Any:
        """Returns the context with loss (unless there), metric and summary states."""
        if context.loss_states is None:
            total, states = losses.compute_losses(self.losses, context)
            context = context.replace(loss_states=states, loss_total=total)
        return context.replace(
            metric_states=_get_states(self.metrics, context),
            summary_states=_get_states(self.summaries, context),
        )


def _get_states(tree: Any, context: Any) -> Any:
    return jax.tree.map(
        lambda metric: metric.get_state_from_context(context),
        tree,
        is_leaf=lambda x: isinstance(x, metrics.Metric),
    )


@flax.struct.dataclass(kw_only=True)
class AuxiliariesState:
    """States of losses, metrics and summaries; `a | b` merges, `None` is the identity.

    Attributes:
      loss_states: Tree of states, or `None`.
      metric_states: Tree of states, or `None`.
      summary_states: Tree of states, or `None`.
      error: Checkify error of the step, or `None`.
      is_halted: Whether the step changed nothing, see `TrainStep.step`, or `None`.
    """

    loss_states: Any = None
    metric_states: Any = None
    summary_states: Any = None
    error: Any = None
    is_halted: Any = None

    def merge(self, other: AuxiliariesState | None) -> AuxiliariesState:
        """Returns the states of the examples of both."""
        if other is None:
            return self
        return AuxiliariesState(
            loss_states=_merge_trees(self.loss_states, other.loss_states),
            metric_states=_merge_trees(self.metric_states, other.metric_states),
            summary_states=_merge_trees(self.summary_states, other.summary_states),
        )

    def __or__(self, other: AuxiliariesState | None) -> AuxiliariesState:
        return self.merge(other)

    def __ror__(self, other: AuxiliariesState | None) -> AuxiliariesState:
        return self if other is None else other.merge(self)

    def finalize(self) -> Self:
        """Returns the states with collected chunks put together."""
        is_state = base_state.State.isinstance
        return jax.tree.map(
            lambda x: x.finalize() if is_state(x) else x, self, is_leaf=is_state
        )

    def compute(self, *, flatten: bool = True) -> AuxiliariesOutput:
        """Computes all values on the host.

        Args:
          flatten: Whether to name the values `losses/x`, `metrics/x/y`, `summaries/x`
            in flat dicts; otherwise the trees keep their structure.

        Returns:
          The values. If there is at least one loss, `losses/total` is their sum, weights
          included.
        """
        with jax.transfer_guard("allow"):
            state = sharding.to_host(self.finalize())
            loss_values = _compute_tree("losses", state.loss_states)
            raw_loss_values = _compute_raw_losses(state.loss_states)
            measured = _compute_tree("metrics", state.metric_states)
            summary_values = _compute_tree("summaries", state.summary_states)
        metric_values, rates = _split_rates(measured)
        if loss_values:
            flat_losses = flatten_names("", loss_values)
            total = np.sum(list(flat_losses.values()), axis=0)
            loss_values = {**loss_values, "total": total}
        if flatten:
            loss_values = flatten_names("losses", loss_values)
            raw_loss_values = flatten_names("losses_raw", raw_loss_values)
            metric_values = flatten_names("metrics", metric_values)
            summary_values = flatten_names("summaries", summary_values)
        return AuxiliariesOutput(
            loss_values=loss_values,
            raw_loss_values=raw_loss_values,
            amounts_per_step=flatten_names("", rates),
            metric_values=metric_values,
            summary_values=summary_values,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxiliariesOutput:
    """Computed values.

    Attributes:
      loss_values: Weighted losses, and their `total`.
      raw_loss_values: Values without the weight, of the losses with `log_raw`.
      metric_values: Numbers.
      amounts_per_step: Name -> how much was processed in a step (`kd.metrics.Throughput`).
      summary_values: Things to show: images `f32[n h w c]` in [0, 1], texts, ...
    """

    loss_values: Mapping[str, Any]
    metric_values: Mapping[str, Any]
    summary_values: Mapping[str, Any]
    raw_loss_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    amounts_per_step: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def throughputs(self, timings: Mapping[str, float]) -> dict[str, float]:
        """Returns the amounts a second, by the rate of steps among `timings`."""
        rate = timings.get("perf_stats/steps_per_sec")
        if rate is None:
            return {}
        amounts = self.amounts_per_step.items()
        return {f"perf_stats/{name}_per_sec": x * rate for name, x in amounts}


def flatten_names(prefix: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested dicts, lists and dataclasses to `{'prefix/a/b': leaf}`."""
    flat: dict[str, Any] = {}
    for name, value in _children(tree) or ():
        path = f"{prefix}/{name}" if prefix else str(name)
        if _children(value) is None:
            flat[path] = value
        else:
            flat |= flatten_names(path, value)
    return flat


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    """Returns the named children of a container; `None` for a leaf."""
    if isinstance(value, _NUMBERS):  # nearly all are, and this is the quickest test
        return None
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return None


def _merge_trees(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return jax.tree.map(
        lambda x, y: x.merge(y), a, b, is_leaf=base_state.State.isinstance
    )


def _compute_tree(group: str, states: Any) -> Any:
    return {} if states is None else _map_states(_compute, states, group)


def _split_rates(tree: Any) -> tuple[Any, Any]:
    """Returns a tree of values without the amounts per step, and one of these alone."""
    if isinstance(tree, metrics.PerStep):
        return {}, float(tree)
    if isinstance(tree, _NUMBERS) or not isinstance(tree, Mapping):
        return tree, {}
    split = {name: _split_rates(value) for name, value in tree.items()}
    values = {k: v for k, (v, r) in split.items() if not isinstance(r, float)}
    return values, {k: r for k, (_, r) in split.items() if r != {}}


def _compute_raw_losses(states: Any) -> Any:
    """Returns the raw values of the losses that ask for it; a tree without the others."""
    if states is None:
        return {}

    def compute_raw(state: base_state.State, path: str) -> Any:
        loss = state.parent
        if not isinstance(loss, losses.Loss) or not loss.log_raw:
            return {}
        if not isinstance(state, losses.Loss.State):
            raise TypeError(
                f"The raw value of {path!r} is not known: the states of "
                f"{type(loss).__name__} are {type(state).__name__}, not "
                "`kd.losses.Loss.State`. Set `log_raw=False`."
            )
        return _compute(state, path, "compute_raw")

    return _map_states(compute_raw, states, "losses_raw")


def _compute(state: base_state.State, path: str, method: str = "compute") -> Any:
    try:
        return getattr(state, method)()
    except Exception as e:
        e.add_note(f"While computing {path!r}.")
        raise


def _map_states(fn: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    if base_state.State.isinstance(tree):
        return fn(tree, path)
    if isinstance(tree, Mapping):
        return {k: _map_states(fn, v, f"{path}/{k}") for k, v in tree.items()}
    return [_map_states(fn, v, f"{path}/{i}") for i, v in enumerate(tree)]
