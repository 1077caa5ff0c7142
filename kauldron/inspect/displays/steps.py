"""One step taken apart: losses, metrics, norms of gradients and updates by module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.inspect.displays import batches, sections
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import looking
from kauldron.step.context import Context

if TYPE_CHECKING:
    from kauldron import train


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepLook:
    """What happened in one step of a training.

    Attributes:
      state: The next state.
      context: Everything there was in the step: `context.grads`, `context.interms`, ...
      values: Losses and metrics.
      norms: By module: norms of parameters, gradients and updates.
      intermediates: What modules returned, with statistics.
    """

    state: TrainState
    context: Context
    values: Table
    norms: Table
    intermediates: Table

    def __str__(self) -> str:
        return "\n\n".join(map(str, (self.values, self.norms, self.intermediates)))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = (self.values, self.norms, self.intermediates)
        parts = {t.title: dataclasses.replace(t, title="") for t in tables}
        return sections.folded(parts, num_open=2)


def look_at_step(
    trainer: train.Trainer,
    state: TrainState | None = None,
    batch: PyTree = None,
    *,
    depth: int = 1,
) -> StepLook:
    """Runs one step of a training, and returns all that happened in it.

    Args:
      trainer: The run. It is left as it is.
      state: Where from; the initial state unless given. It can be used again.
      batch: The first of `trainer.train_ds` unless given.
      depth: How many names of the path of a parameter are told apart in `norms`.
    """
    start, batch = looking.inputs_of(trainer, state, batch)
    next_state, context = looking.step_context(trainer.trainstep, start, batch)
    return StepLook(
        state=next_state,
        context=context,
        values=_values(context),
        norms=_norms(context, depth),
        intermediates=_statistics(context.interms),
    )


def _values(context: Context) -> Table:
    aux = context.get_aux_state(return_losses=True, return_metrics=True)
    computed = aux.compute()
    numbers = {**computed.loss_values, **computed.metric_values}
    rows = [
        (name, float(np.asarray(value)))
        for name, value in numbers.items()
        if np.ndim(value) == 0
    ]
    return Table(
        title=f"Losses and metrics of step {int(context.step)}",
        columns=("name", "value"),
        rows=tuple(rows),
    )


def _norms(context: Context, depth: int) -> Table:
    trees = {
        "params": context.params,
        "grads": context.grads,
        "updates": context.updates,
    }
    squares: dict[str, dict[str, float]] = {}
    for kind, tree in trees.items():
        if tree is None:
            continue
        for path, leaf in kontext.flatten_with_path(tree).items():
            parts = kontext.Path.from_str(str(path)).parts[:depth]
            of_module = squares.setdefault(str(kontext.Path(*parts)), {})
            of_module[kind] = of_module.get(kind, 0.0) + _sum_of_squares(leaf)
    rows = [_norm_row(name, found) for name, found in squares.items()]
    total = {
        kind: sum(found.get(kind, 0.0) for found in squares.values()) for kind in trees
    }
    return Table(
        title="Norms by module",
        columns=("module", "params", "grads", "updates", "updates / params"),
        rows=(*rows, _norm_row("all", total)),
    )


def _norm_row(name: str, squares: Mapping[str, float]) -> tuple[Any, ...]:
    norms = {kind: value**0.5 for kind, value in squares.items()}
    params, updates = norms.get("params"), norms.get("updates")
    ratio = updates / params if params and updates is not None else None
    return (name, params, norms.get("grads"), updates, ratio)


def _sum_of_squares(leaf: Any) -> float:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return 0.0
    return float(jnp.sum(jnp.abs(leaf.astype(jnp.float32)) ** 2))


def _statistics(interms: PyTree) -> Table:
    table = batches.get_batch_stats({} if interms is None else interms)
    rows = tuple(
        (row[0].replace("batch.", "interms.", 1), *row[1:]) for row in table.rows
    )
    return dataclasses.replace(table, title="Intermediates", rows=rows)
