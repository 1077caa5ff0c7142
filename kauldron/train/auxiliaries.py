"""Losses, metrics and summaries of one step, and the states they leave behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import flax.struct
import jax
import numpy as np

from kauldron import losses, metrics
from kauldron.metrics import base_state
from kauldron.utils import config_util, immutabledict

immutabledict.register_pytree()


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
          The values. If there is at least one loss, `losses/total` is their sum.
        """
        with jax.transfer_guard("allow"):
            state = jax.device_get(self.finalize())
            loss_values = _compute_tree("losses", state.loss_states)
            metric_values = _compute_tree("metrics", state.metric_states)
            summary_values = _compute_tree("summaries", state.summary_states)
        if loss_values:
            flat_losses = flatten_names("", loss_values)
            total = np.sum(list(flat_losses.values()), axis=0)
            loss_values = {**loss_values, "total": total}
        if flatten:
            loss_values = flatten_names("losses", loss_values)
            metric_values = flatten_names("metrics", metric_values)
            summary_values = flatten_names("summaries", summary_values)
        return AuxiliariesOutput(
            loss_values=loss_values,
            metric_values=metric_values,
            summary_values=summary_values,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxiliariesOutput:
    """Computed values.

    Attributes:
      loss_values: Weighted losses, and their `total`.
      metric_values: Numbers.
      summary_values: Things to show: images `f32[n h w c]` in [0, 1], texts, ...
    """

    loss_values: Mapping[str, Any]
    metric_values: Mapping[str, Any]
    summary_values: Mapping[str, Any]


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


def _compute(state: base_state.State, path: str) -> Any:
    try:
        return state.compute()
    except Exception as e:
        e.add_note(f"While computing {path!r}.")
        raise


def _map_states(fn: Callable[[Any, str], Any], tree: Any, path: str) -> Any:
    if base_state.State.isinstance(tree):
        return fn(tree, path)
    if isinstance(tree, Mapping):
        return {k: _map_states(fn, v, f"{path}/{k}") for k, v in tree.items()}
    return [_map_states(fn, v, f"{path}/{i}") for i, v in enumerate(tree)]
