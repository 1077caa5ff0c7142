"""A model, module by module: shapes, parameters, floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flax import linen as nn

from kauldron import kontext
from kauldron._base import text_tables
from kauldron.data import utils as data_utils
from kauldron.inspect import _model_trace, _svg, _trainer_inputs
from kauldron.inspect.displays import _operations
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import data, train


def model_overview(
    model: nn.Module | train.Trainer, *args: PyTree, **kwargs: PyTree
) -> Table:
    """Returns the modules of a model in the order in which they are called.

    Args:
      model: Any Flax module; or a trainer, whose model is called with its data.
      *args: What it is called with: arrays, or anything with `shape` and `dtype`.
      **kwargs: Likewise.

    Returns:
      Path, class, inputs and outputs, shapes of its own parameters, how many these are,
      and how many with those of the modules in it.
    """
    if isinstance(model, nn.Module):
        return _overview(_model_trace.trace(model, *args, **kwargs))
    return _overview(_model_trace.trace_of(model))


def _overview(trace: _model_trace.Trace) -> Table:
    rows = tuple(
        (
            ".".join(call.path),
            call.kind,
            _shapes(call.inputs),
            _shapes(call.outputs),
            _own_shapes(trace, call),
            _num_own(trace, call),
            trace.num_params(call.path),
        )
        for call in trace.calls
    )
    return Table(
        title="Model",
        columns=(
            "Path",
            "Module",
            "Inputs",
            "Outputs",
            "Parameter Shapes",
            "Own Params",
            "Total Params",
        ),
        rows=rows,
        notes=(_svg.plural(trace.num_params(), "parameter"),),
    )


def get_colab_model_overview(
    *,
    model: nn.Module,
    train_ds: data.IterableDataset,
    ds_sharding: Any = None,
    model_config: Any = None,
    rngs: train.RngStreams | None = None,
) -> Table:
    """Published name of `model_overview`, with the batches of a dataset as inputs.

    Args:
      model: Its keys say what it takes of a batch.
      train_ds: Where batches come from.
      ds_sharding: Without effect: shapes are those of whole batches.
      model_config: Without effect.
      rngs: Without effect: nothing is drawn.
    """
    del ds_sharding, model_config, rngs
    batch = data_utils.batch_specs(train_ds.element_spec)
    args, kwargs = data_utils.get_model_inputs_from_batch(model, batch)
    with _trainer_inputs.telling_model_errors():
        return model_overview(model, *args, **kwargs)


def flops_table(
    trainer: train.Trainer, *, depth: int | None = None, is_training: bool = False
) -> Table:
    """Returns the operations of a forward pass on a batch, module by module.

    Products of matrices and convolutions count each multiplication and each addition,
    arithmetic on arrays one for each element. XLA may compute less, by joining what it
    finds twice. A step of training takes about three times those of its forward pass.

    Args:
      trainer: Nothing of it is computed.
      depth: How deep modules in modules are shown; all unless given.
      is_training: Whether dropout is on.

    Raises:
      ModelTraceError: A `ValueError`: the model does not take its data.
    """
    trace, program = _model_trace.program_of(trainer, is_training=is_training)
    operations = _operations.count_program(program)
    root = type(trainer.model).__name__
    total = operations.inside(())
    rows: dict[str, tuple[Any, ...]] = {}
    for call in trace.calls:
        if depth is not None and len(call.path) > depth:
            continue
        inside = operations.inside((root, *call.path))
        name = ".".join(call.path)
        share = f"{inside / total:.1%}" if total else "-"
        rows[name] = (
            name,
            call.kind,
            _shapes(call.outputs),
            trace.num_params(call.path),
            inside if call.path else total,
            share if call.path else "100.0%",
        )
    notes = [f"{total:,} operations in a forward pass ({format_count(total)}FLOP)"]
    if operations.has_unknown_loops:
        notes.append("Loops whose length is not known count once.")
    return Table(
        title="Floating-point operations of a batch",
        columns=("module", "class", "outputs", "parameters", "operations", "share"),
        rows=tuple(rows.values()),
        notes=tuple(notes),
    )


def format_count(number: float) -> str:
    """Returns a number with a prefix for its thousands, such as `1.2 G`."""
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {prefix}"
        number /= 1000
    return f"{number:.3g} P"


def _shapes(tree: Any) -> str:
    found = (
        kontext.flatten_with_path(tree)
        if isinstance(tree, dict | list | tuple)
        else None
    )
    if found is None:
        return kontext.format_spec(tree) or type(tree).__name__
    if isinstance(tree, dict):
        return ", ".join(
            f"{path}: {kontext.format_spec(x)}" for path, x in found.items()
        )
    return ", ".join(kontext.format_spec(x) for x in found.values())


def _own(trace: _model_trace.Trace, call: _model_trace.Call) -> dict[str, Any]:
    tree = trace.params
    for name in call.path:
        tree = tree.get(name, {}) if isinstance(tree, Mapping) else {}
    if not isinstance(tree, Mapping):
        return {}
    return {k: v for k, v in tree.items() if hasattr(v, "shape")}


def _own_shapes(trace: _model_trace.Trace, call: _model_trace.Call) -> str:
    return ", ".join(
        f"{k}: {text_tables.format_shape(x.shape)}"
        for k, x in _own(trace, call).items()
    )


def _num_own(trace: _model_trace.Trace, call: _model_trace.Call) -> int:
    return sum(math.prod(x.shape) for x in _own(trace, call).values())
