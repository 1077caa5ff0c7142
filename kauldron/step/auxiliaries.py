"""Losses, metrics and summaries of one step, and the states that they produce."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from kauldron import kontext, losses, metrics, sharding
from kauldron._base import frozen_dict, root_refs
from kauldron.ktyping import Bool, PyTree
from kauldron.metrics import base_state, shared_parts
from kauldron.step import _packed_values, packed_states, state_trees

frozen_dict.register_pytree()

flatten_names = state_trees.flatten_names

_NOTED: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar(
    "_NOTED", default=None
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Auxiliaries(root_refs.UpdateFromRootCfg):
    """What is measured besides the update itself.

    Attributes:
      losses: Tree of losses; the trainer's unless given.
      metrics: Tree of metrics; the trainer's unless given.
      summaries: Tree of summaries; the trainer's unless given.
    """

    losses: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_losses
    metrics: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_metrics
    summaries: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_summaries

    def update_context(self, context: Any) -> Any:
        """Returns the context with loss (unless there), metric and summary states."""
        with shared_parts.sharing():
            if context.loss_states is None:
                total, states = losses.compute_losses(self.losses, context)
                context = context.replace(loss_states=states, loss_total=total)
            if (noted := _NOTED.get()) is not None:
                noted.append(jax.tree.map(_spec, context))
            return context.replace(
                metric_states=_get_states("metrics", self.metrics, context),
                summary_states=_get_states("summaries", self.summaries, context),
            )


@contextlib.contextmanager
def noting_contexts() -> Iterator[list[Any]]:
    """Yields a list that receives what is measured in the block: contexts of specs."""
    noted: list[Any] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def _spec(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _get_states(group: str, tree: PyTree, context: kontext.Context) -> Any:
    def get_state(path: tuple[Any, ...], metric: metrics.Metric) -> Any:
        try:
            return metric.get_state_from_context(context)
        except Exception as e:
            e.add_note(f"While measuring `{group}{jax.tree_util.keystr(path)}`.")
            raise

    with jax.named_scope(group):  # as profiles call them
        return jax.tree_util.tree_map_with_path(
            get_state, tree, is_leaf=lambda x: isinstance(x, metrics.Metric)
        )


def _first_error(a: checkify.Error | None, b: checkify.Error | None) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a if a.get() is not None else b


def _either(a: jax.Array | None, b: jax.Array | None) -> jax.Array | None:
    if a is None or b is None:
        return b if a is None else a
    return jnp.logical_or(a, b)


_PACKED_FIELDS = ("loss_states", "metric_states", "summary_states")


class _States:
    """A field with a tree of states, unpacked when it is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: AuxiliariesState | None, owner: type) -> Any:
        if instance is None:
            return None  # the default of the field
        value = vars(instance)[self._name]
        if isinstance(value, packed_states.PackedStates):
            value = vars(instance)[self._name] = getattr(value.tree, self._name)
        return value

    def __set__(self, instance: AuxiliariesState, value: object) -> None:
        vars(instance)[self._name] = value


@flax.struct.dataclass(kw_only=True)
class AuxiliariesState:
    """States of losses, metrics and summaries; `a | b` merges, `None` is the identity.

    Those that a step or an evaluator returns are on the host once they are read, which
    waits for the devices; large arrays stay where they are.

    Attributes:
      loss_states: Tree of states, or `None`.
      metric_states: Tree of states, or `None`.
      summary_states: Tree of states, or `None`.
      error: Checkify error of the step, or `None`.
      is_halted: Whether the step changed nothing, see `TrainStep.step`, or `None`.
    """

    loss_states: PyTree[base_state.State] = _States()
    metric_states: PyTree[base_state.State] = _States()
    summary_states: PyTree[base_state.State] = _States()
    error: Any = None
    is_halted: Bool[""] | None = None

    def pack(self, strategy: sharding.ShardingStrategy) -> packed_states.PackedStates:
        """Returns the states placed, the small ones as one array; inside jit."""
        return packed_states.pack(self, strategy.aux, replicated=strategy.replicated)

    @classmethod
    def unpack(cls, packed: packed_states.PackedStates, **fields: Any) -> Self:
        """Returns what was packed; nothing waits until a field of it is read."""
        if packed.words is not None or packed.others:
            fields |= dict.fromkeys(_PACKED_FIELDS, packed)
        return cls(**fields)

    @property
    def packed(self) -> packed_states.PackedStates | None:
        """What was unpacked, if no field of it has been read."""
        values = vars(self).values()
        known = [x for x in values if isinstance(x, packed_states.PackedStates)]
        return known[0] if known else None

    def merge(self, other: AuxiliariesState | None) -> AuxiliariesState:
        """Returns the states of the examples of both.

        An error that either has met stays (the first of two), and so does a halt.
        """
        return self._merge(other, state_trees.merge)

    def merge_each(self, other: AuxiliariesState | None) -> AuxiliariesState:
        """Like `merge`, but states that cannot be merged fail later, in `compute`."""
        return self._merge(other, state_trees.merge_each)

    def _merge(
        self, other: AuxiliariesState | None, merge: Callable[..., Any]
    ) -> AuxiliariesState:
        if other is None:
            return self
        return AuxiliariesState(
            **{
                name: merge(getattr(self, name), getattr(other, name))
                for name in _PACKED_FIELDS
            },
            error=_first_error(self.error, other.error),
            is_halted=_either(self.is_halted, other.is_halted),
        )

    def __or__(self, other: AuxiliariesState | None) -> AuxiliariesState:
        return self.merge(other)

    def __ror__(self, other: AuxiliariesState | None) -> AuxiliariesState:
        return self if other is None else other.merge(self)

    def finalize(self) -> Self:
        """Returns the states with collected chunks put together."""
        return jax.tree.map(_finalize, self, is_leaf=_is_state)

    def compute(
        self, *, flatten: bool = True, failures: list[state_trees.Failure] | None = None
    ) -> AuxiliariesOutput:
        """Computes all values on the host.

        Args:
          flatten: Whether to name the values `losses/x`, `metrics/x/y`, `summaries/x`
            in flat dicts; otherwise the trees keep their structure.
          failures: Collects what losses, metrics and summaries raise; the others are
            still computed. `None` raises the first error.

        Returns:
          The values. If there is at least one loss, and none has failed, `losses/total`
          is their sum, weights included.
        """
        nested = self.compute_numbers(failures)
        summary_values = self.compute_summaries(failures)
        nested = dataclasses.replace(nested, summary_values=summary_values)
        return nested.flattened() if flatten else nested

    def compute_numbers(
        self, failures: list[state_trees.Failure] | None = None
    ) -> AuxiliariesOutput:
        """As `compute`, nested, without the summaries."""
        loss_values = self._compute("losses", "loss_states", failures)
        is_whole = not failures
        raw_loss_values = self._compute("losses_raw", "loss_states", failures)
        measured = self._compute("metrics", "metric_states", failures)
        metric_values, rates = _split_rates(measured)
        flat_losses = flatten_names("", loss_values)
        if flat_losses and is_whole:
            total = np.sum(list(flat_losses.values()), axis=0)
            loss_values = {**loss_values, "total": total}
        return AuxiliariesOutput(
            loss_values=loss_values,
            raw_loss_values=raw_loss_values,
            amounts_per_step=flatten_names("", rates),
            metric_values=metric_values,
            summary_values={},
        )

    def compute_summaries(
        self, failures: list[state_trees.Failure] | None = None
    ) -> Any:
        """As `compute`, nested, the values of the summaries alone."""
        return self._compute("summaries", "summary_states", failures)

    def _compute(
        self, group: str, field: str, failures: list[state_trees.Failure] | None
    ) -> Any:
        tree = vars(self)[field]
        with sharding.allowing_transfers():
            if isinstance(tree, packed_states.PackedStates):
                values = self._packed_values
                tree, unpack, compute = (
                    values.tree(field),
                    values.unpack,
                    values.compute,
                )
            else:
                if failures is None:
                    tree = jax.tree.map(_finalize, tree, is_leaf=_is_state)
                else:
                    tree = state_trees.finalize_each(tree)
                tree = sharding.to_host(tree)
                unpack, compute = _same, operator.methodcaller("compute")
            if group == "losses_raw":
                compute = functools.partial(_compute_raw, unpack)
            return state_trees.compute(
                group, tree, compute_one=compute, failures=failures
            )

    @functools.cached_property
    def _packed_values(self) -> _packed_values.PackedValues:
        packed = self.packed
        assert packed is not None
        return _packed_values.PackedValues(packed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuxiliariesOutput:
    """Computed values.

    Attributes:
      loss_values: Weighted losses, and their `total`.
      raw_loss_values: Values without the weight, of the losses with `log_raw`.
      metric_values: Numbers.
      amounts_per_step: Name -> how much was processed in a step
        (`kd.metrics.Throughput`).
      summary_values: Things to show: images `Float32["n h w c"]` in [0, 1], texts, ...
    """

    loss_values: Mapping[str, Any]
    metric_values: Mapping[str, Any]
    summary_values: Mapping[str, Any]
    raw_loss_values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    amounts_per_step: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def flattened(self) -> AuxiliariesOutput:
        """Returns the values in flat dicts: `losses/x`, `metrics/x/y`, `summaries/x`."""
        return dataclasses.replace(
            self,
            loss_values=flatten_names("losses", self.loss_values),
            raw_loss_values=flatten_names("losses_raw", self.raw_loss_values),
            metric_values=flatten_names("metrics", self.metric_values),
            summary_values=flatten_names("summaries", self.summary_values),
        )

    def throughputs(self, timings: Mapping[str, float]) -> dict[str, float]:
        """Returns the amounts a second, by the rate of steps among `timings`."""
        rate = timings.get("perf_stats/steps_per_sec")
        if rate is None:
            return {}
        amounts = self.amounts_per_step.items()
        return {f"perf_stats/{name}_per_sec": x * rate for name, x in amounts}


def _split_rates(tree: PyTree) -> tuple[Any, Any]:
    """Returns a tree of values without the amounts per step, and one of these alone."""
    if isinstance(tree, metrics.PerStep):
        return {}, float(tree)
    if isinstance(tree, state_trees.NUMBERS) or not isinstance(tree, Mapping):
        return tree, {}
    split = {name: _split_rates(value) for name, value in tree.items()}
    values = {k: v for k, (v, r) in split.items() if not isinstance(r, float)}
    return values, {k: r for k, (_, r) in split.items() if r != {}}


def _compute_raw(unpack: Callable[[Any], Any], state: Any) -> Any:
    """Returns the raw value of a loss that asks for it; `{}` for the others."""
    loss = state.parent
    if not isinstance(loss, losses.Loss) or not loss.log_raw:
        return {}
    state = unpack(state)
    if not isinstance(state, losses.Loss.State | state_trees.FailedState):
        raise TypeError(
            f"The raw value is not known: the states of {type(loss).__name__} are "
            f"{type(state).__name__}, not `kd.losses.Loss.State`. Set `log_raw=False`."
        )
    return state.compute_raw()


def _is_state(x: object) -> bool:
    return base_state.State.isinstance(x)


def _finalize(x: Any) -> Any:
    return x.finalize() if _is_state(x) else x


def _same(x: Any) -> Any:
    return x
