"""A model, module by module: shapes, parameters, floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
from flax import linen as nn

from kauldron import kontext, modules
from kauldron._base import text_tables
from kauldron.data import utils as data_utils
from kauldron.inspect import _model_trace, _svg, _trainer_inputs
from kauldron.inspect.displays import _operations
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import data, train


def model_overview(model: nn.Module, *args: PyTree, **kwargs: PyTree) -> Table:
    """Returns the modules of a model in the order in which they are called.

    Args:
      model: Any Flax module.
      *args: What it is called with: arrays, or anything with `shape` and `dtype`.
      **kwargs: Likewise.

    Returns:
      Path, class, inputs and outputs, shapes of its own parameters, how many these are,
      and how many with those of the modules in it.
    """
    trace = _model_trace.trace(model, *args, **kwargs)
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
    model = trainer.model
    args, kwargs = _trainer_inputs.model_inputs(trainer)
    with _trainer_inputs.telling_model_errors():
        trace = _model_trace.trace(model, *args, **kwargs)
        operations = _count(model, args, kwargs, is_training)
    root = type(model).__name__
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


def _count(
    model: nn.Module, args: Any, kwargs: Any, is_training: bool
) -> _operations.Operations:
    rngs = {name: jax.random.key(0) for name in ("params", "dropout", "default")}

    def init(args: Any, kwargs: Any) -> Any:
        return model.init(rngs, *args, **kwargs)

    def apply(variables: Any, args: Any, kwargs: Any) -> Any:
        return model.apply(variables, *args, rngs=rngs, mutable=True, **kwargs)

    with modules.set_train_property(is_training):
        variables = modules.eval_shape(init, args, kwargs)
        arrays, rest = _split_arrays((args, kwargs))

        def call(variables: Any, arrays: Any) -> Any:
            given, named = _join_arrays(arrays, rest)
            return apply(variables, given, named)

        return _operations.count(call, variables, arrays)


def _split_arrays(tree: Any) -> tuple[list[Any], Any]:
    """Returns the arrays of a tree, and how to put them back beside what is none."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [x for x in leaves if hasattr(x, "dtype")]
    return arrays, (leaves, structure)


def _join_arrays(arrays: list[Any], rest: Any) -> Any:
    leaves, structure = rest
    given = iter(arrays)
    return jax.tree.unflatten(
        structure, [next(given) if hasattr(x, "dtype") else x for x in leaves]
    )


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
