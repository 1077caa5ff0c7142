"""`cfg.exporter`: the program of a model, written when its training starts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from jax import export as jax_export

from kauldron import kontext, sharding
from kauldron import step as step_lib
from kauldron._base import console, errors, root_refs, shared_files
from kauldron.data import utils as data_utils
from kauldron.export import _jaxprs, _program, _stablehlo
from kauldron.export._errors import ExportError
from kauldron.ktyping import PRNGKeyArray, PyTree, Scalar
from kauldron.sharding import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ModelExporter(root_refs.UpdateFromRootCfg, root_refs.FrozenSubclasses, abc.ABC):
    """Base of what writes the program of a model when a new run starts.

    Attributes:
      name: Of the program.
      workdir: Where it goes; that of the run unless given.
      rng_streams: Random streams; those of the run unless given.
    """

    name: str = "train_model"
    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir
    rng_streams: step_lib.RngStreams = root_refs.ROOT_CFG_REF.rng_streams

    @abc.abstractmethod
    def export(
        self, *, model: Any, state: TrainState, element_spec: Any, is_training: bool
    ) -> None:
        """Writes the program.

        Args:
          model: Flax module.
          state: State at the start; its values are not part of the program.
          element_spec: Specs of a batch.
          is_training: Whether dropout and the like are on.

        Raises:
          ExportError: If it cannot be exported.
        """

    def get_rngs(
        self, is_training: bool, step: Scalar = 0
    ) -> dict[str, PRNGKeyArray[""]]:
        """Returns the keys of a step by name of their stream."""
        if is_training:
            return self.rng_streams.train_rngs(step)
        return self.rng_streams.eval_rngs(step)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopExporter(ModelExporter):
    """Exports nothing."""

    def export(
        self, *, model: Any, state: TrainState, element_spec: Any, is_training: bool
    ) -> None:
        del model, state, element_spec, is_training


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class JaxModelExporter(ModelExporter):
    """Writes a model with `jax.export`: a program whose parameters are an argument.

    `jax.export.deserialize(data).call(params=..., key=..., image=...)` returns
    `{'preds': ..., 'interms': ...}`. All arguments are named: `params`; `key`, a
    `UInt32["2"]` key that is folded into the random streams; `collections`, if the model
    has any; and the arguments of the model, which must have `kontext.Key` fields.
    `checkify.check` of the model is left out.

    Attributes:
      batch_specs: Shapes of the batch, as `jax.export.symbolic_shape` reads them: one for
        all arrays, or a tree of them. Names are symbolic sizes.
      model_method: Method to call; `__call__` unless given.
      platforms: For which it is written.
      vjp_order: How often it can be differentiated.
      path_template: Where it goes.
      ds_sharding: Sharding of the batch; that of the run unless given. The program must be
        called with as many devices as it has.
      precision: Dtypes of the model; those of the run unless given.
    """

    batch_specs: Any = "b, ..."
    model_method: str | Callable[..., Any] | None = None
    platforms: Sequence[str] = ("cpu", "tpu")
    vjp_order: int = 1
    path_template: str = "{workdir}/{name}.jax_exported"
    ds_sharding: Any = root_refs.ROOT_CFG_REF.sharding.batch
    precision: step_lib.Precision | None = root_refs.ROOT_CFG_REF.precision

    def __post_init__(self) -> None:
        _stablehlo.check_platforms(self.platforms)

    @property
    def path(self) -> epath.Path:
        """Where the program goes."""
        return epath.Path(
            self.path_template.format(workdir=self.workdir, name=self.name)
        )

    def export(
        self, *, model: Any, state: TrainState, element_spec: Any, is_training: bool
    ) -> None:
        if not kontext.get_keypaths(model):
            raise ExportError(
                f"`JaxModelExporter` needs a model that names its inputs: give "
                f"{type(model).__name__} fields such as `image: kd.kontext.Key`."
            )
        specs = _symbolic(data_utils.batch_specs(element_spec), self.batch_specs)
        variables = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            {"params": state.params, "collections": state.collections or {}},
        )
        inputs = _inputs_of(model, specs, variables)
        placements = _inputs_of(model, _on_all(specs, self.ds_sharding), variables)
        keywords = {"params": variables["params"], "key": _program.KEY_SPEC, **inputs}
        if variables["collections"]:
            keywords["collections"] = variables["collections"]
        function = self._function(model, placements, is_training=is_training)
        operations = list(_jaxprs.operations(_trace(function, keywords).jaxpr))
        _jaxprs.check_callbacks(operations)
        if any(operation.name == "check" for operation in operations):
            function = _program.without_checks(function)
        exported = _stablehlo.lower(jax.jit(function), (), keywords, self.platforms)
        data = _stablehlo.serialize(exported, vjp_order=self.vjp_order)
        if console.is_lead_host():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with shared_files.replacing(self.path) as part:
                part.write_bytes(data)

    def _function(
        self, model: Any, placements: Mapping[str, Any], *, is_training: bool
    ) -> Callable[..., Any]:
        def function(
            *, params: Any, key: Any, collections: Any = None, **inputs: Any
        ) -> dict[str, Any]:
            inputs = {k: _placed(x, placements[k]) for k, x in inputs.items()}
            bits = jax.random.bits(jax.random.wrap_key_data(key, impl="threefry2x32"))
            rngs = self.get_rngs(is_training)
            context = step_lib.forward(
                step_lib.Context(
                    step=0, batch=None, params=params, collections=collections
                ),
                model=model,
                rngs={k: jax.random.fold_in(rng, bits) for k, rng in rngs.items()},
                is_training=is_training,
                method=self.model_method,
                precision=self.precision,
                inputs=inputs,
            )
            return {"preds": context.preds, "interms": context.interms}

        return function


def _symbolic(specs: PyTree, batch_specs: Any) -> Any:
    """Returns specs of a batch with symbolic sizes."""
    scope = jax_export.SymbolicScope()

    def convert(spec: jax.ShapeDtypeStruct, text: str | None) -> Any:
        if text is None or not spec.shape:
            return spec
        shape = jax_export.symbolic_shape(text, like=spec.shape, scope=scope)
        return jax.ShapeDtypeStruct(shape, spec.dtype)

    return jax.tree.map(convert, specs, _on_all(specs, batch_specs))


def _on_all(specs: PyTree, prefix: Any) -> Any:
    """Returns the tree in which a leaf of `prefix` stands for all that is below it."""
    return jax.tree.broadcast(prefix, specs, is_leaf=lambda x: x is None)


def _inputs_of(model: Any, batch: PyTree, variables: Mapping[str, Any]) -> Any:
    context = step_lib.Context(
        step=jax.ShapeDtypeStruct((), "int32"), batch=batch, **variables
    )
    _, inputs = data_utils.get_model_inputs(model, context)
    return inputs


def _placed(inputs: PyTree, placements: Any) -> Any:
    def place(array: Any, placement: Any) -> Any:
        if isinstance(placement, jax.sharding.Sharding):
            return sharding.with_sharding_constraint(array, placement)
        return array

    return jax.tree.map(place, inputs, placements)


def _trace(function: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
    try:
        return jax.jit(function).trace(**keywords)
    except errors.UserError:
        raise
    except Exception as e:
        where = step_lib.module_errors.describe_module(e) or "in the model"
        raise ExportError(
            f"The model cannot be traced with the shapes of `batch_specs` {where}: "
            f"{type(e).__name__}: {str(e).strip().splitlines()[0]}. Name sizes instead of "
            "letters, such as `batch_specs='8, ...'`."
        ) from e
