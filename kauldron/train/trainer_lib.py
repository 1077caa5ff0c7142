"""`Trainer`: a whole run as one frozen object."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    cast,
)

import jax
import jax.numpy as jnp
from etils import epath

from kauldron import checkpoints, data, export, modules, optim, recording, sharding
from kauldron._base import cell_errors, config_classes, frozen_dict, root_refs
from kauldron.data import utils as data_utils
from kauldron.evals import base as evals_base
from kauldron.evals import standalone
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import (
    auxiliaries,
    context,
    looking,
    mixed_precision,
    rematerialization,
    rngs_lib,
    train_step,
)
from kauldron.train import (
    _eval_only,
    _run_description,
    _run_files,
    _trainer_checks,
    hooks,
    nan_guard,
    setup_utils,
    train_loop,
)

_DICT_FIELDS = (*_trainer_checks.DICTS, "evals", "aux")


# Launch descriptions are for programs that start runs, not for the run.
_UNRESOLVED = ("xm_job",)


def _empty_dict() -> Any:
    return dataclasses.field(default_factory=frozen_dict.ImmutableDict)


# Subclasses are frozen, too; which type checkers need not know.
_Base: Any = object if TYPE_CHECKING else root_refs.FrozenSubclasses


@config_classes.frozen
class Trainer(_Base):
    """Data, model, losses, optimizer and the rest of a run.

    Made by `konfig.resolve(cfg)`, or directly. Components that were left unset take
    their values from here (`ROOT_CFG_REF`). `None` switches optional parts off.

    Attributes:
      seed: Root seed of everything random.
      workdir: Directory of the run.
      train_ds: Batches to train on.
      eval_ds: Default dataset of evaluators.
      model: Flax module.
      rng_streams: Random streams.
      sharding: Placement on devices; a text is that of `kd.sharding.Mesh.from_name`.
      num_train_steps: Number of updates, >= 0; `None` trains until `train_ds` ends.
      stop_after_steps: Stops earlier, without changing schedules.
      log_metrics_every: Interval in steps.
      log_summaries_every: Interval in steps.
      train_losses: Tree of losses.
      train_metrics: Tree of metrics.
      train_summaries: Tree of summaries.
      writer: Where results are written; `{name: writer}` for several.
      profiler: `kd.inspect.Profiler(...)` traces a few steps; `None` traces nothing.
      checkify_error_categories: Errors to look for inside the step; each step then waits
        for the devices.
      nan_guard: `kd.train.NanGuard(...)` looks for values that are not finite; `None`
        does not.
      hooks: Name -> `kd.train.Hook`, notified of events during the run.
      tracking: What follows the run from outside, such as `kd.tracking.MLflow(...)`;
        `{name: tracker}` for several.
      schedules: Name -> function of the step; logged. The learning rates of the optimizer
        are logged without being named here.
      optimizer: Optax optimizer; `None` if the run only evaluates, or the step has its
        own.
      checkpointer: Saves and restores.
      init_transform: Changes the initial state.
      trainstep: One update.
      precision: Dtypes of the model in training and evaluation: `'bf16'`, `'fp16'` or
        `'f32'` (see `kd.train.Precision.from_name`), or a `kd.train.Precision(...)`, which
        it is afterwards; `None` leaves them to the model.
      remat: Modules that compute their activations again for gradients, such as
        `kd.train.Remat(modules=['**.block_*'])`; `None` for none.
      grad_accum_steps: In how many micro-batches a batch is split, one after the other,
        >= 1. `batch_size` remains that of the full batch.
      evals: Name -> evaluator.
      exporter: Writes the program of the model when a new run starts, such as
        `kd.export.JaxModelExporter()`; `None` writes none.
      aux: Free-form values for `cfg.ref.aux.x`.
      setup: Preparation of the run.
      xm_job: Launch description; never resolved.
      raw_cfg: The config it was resolved from.
    """

    __konfig_resolve_exclude_fields__: ClassVar[tuple[str, ...]] = _UNRESOLVED

    seed: int = 0
    workdir: epath.PathLike | None = None
    train_ds: data.Pipeline = config_classes.required()
    eval_ds: data.Pipeline | None = None
    model: Any = config_classes.required()
    rng_streams: rngs_lib.RngStreams = dataclasses.field(
        default_factory=rngs_lib.RngStreams
    )
    sharding: sharding.ShardingStrategy | str = dataclasses.field(
        default_factory=sharding.ShardingStrategy
    )
    num_train_steps: int | None = None
    stop_after_steps: int | None = None
    log_metrics_every: int = 100
    log_summaries_every: int = 1000
    train_losses: Mapping[str, Any] = _empty_dict()
    train_metrics: Mapping[str, Any] = _empty_dict()
    train_summaries: Mapping[str, Any] = _empty_dict()
    writer: recording.Writer | Mapping[str, Any] | None = dataclasses.field(
        default_factory=recording.KDMetricWriter
    )
    profiler: Any = None
    checkify_error_categories: frozenset[Any] = frozenset()
    nan_guard: nan_guard.NanGuard | None = None
    hooks: Mapping[str, hooks.Hook] = _empty_dict()
    tracking: hooks.Tracking | Mapping[str, hooks.Tracking] | None = None
    schedules: Mapping[str, Any] = _empty_dict()
    optimizer: Any = config_classes.required()
    checkpointer: checkpoints.BaseCheckpointer | None = None
    init_transform: checkpoints.InitTransform | None = None
    trainstep: train_step.TrainStep = dataclasses.field(
        default_factory=train_step.TrainStep
    )
    precision: mixed_precision.Precision | Literal["bf16", "fp16", "f32"] | None = None
    remat: rematerialization.Remat | None = None
    grad_accum_steps: int = 1
    evals: Mapping[str, evals_base.EvaluatorBase] | None = _empty_dict()
    exporter: export.ModelExporter | None = None
    aux: Mapping[str, Any] = _empty_dict()
    setup: setup_utils.Setup = dataclasses.field(default_factory=setup_utils.Setup)
    xm_job: Any = dataclasses.field(default=None, repr=False)
    raw_cfg: Any = dataclasses.field(default=None, repr=False)

    if TYPE_CHECKING:  # in a config, `kd.train.Trainer()` makes a node, which has more

        def __getattr__(self, name: str) -> Any: ...

    def __post_init__(self) -> None:
        self._set("precision", mixed_precision.as_precision(self.precision))
        self._set("sharding", sharding.as_strategy(self.sharding))
        categories: Any = self.checkify_error_categories
        if isinstance(categories, list | tuple | set):  # what a flag, or JSON, can say
            self._set("checkify_error_categories", frozenset(categories))
        _trainer_checks.check_values(self._kept)
        for name in _trainer_checks.NUMBERS:
            if getattr(self, name) is not None:
                self._set(name, int(getattr(self, name)))  # one of NumPy is no JSON
        if self.workdir is not None:
            self._set("workdir", epath.Path(self.workdir))
        for name, default in _DEFAULT_PARTS.items():
            if getattr(self, name) is None:
                self._set(name, default())
        frozen_dict.freeze_dict_attrs(self, _DICT_FIELDS)
        fields = vars(self)  # where no part is `None` any more
        writer = recording.as_writer(fields["writer"])
        self._set("writer", writer.replace(collection="train"))
        named = evals_base.normalize_evaluators(fields["evals"])
        self._set("evals", frozen_dict.ImmutableDict(named))
        # In the order of the fields: later parts see earlier ones bound.
        for field in dataclasses.fields(self):
            if field.name not in ("raw_cfg", "xm_job"):
                value = getattr(self, field.name)
                self._set(field.name, root_refs.bind_tree(value, self))
        evals_with_writers = {
            k: self._with_writer(e) for k, e in fields["evals"].items()
        }
        self._set("evals", frozen_dict.ImmutableDict(evals_with_writers))

    def _with_writer(
        self, evaluator: evals_base.EvaluatorBase
    ) -> evals_base.EvaluatorBase:
        """Gives an evaluator a writer for its own collection."""
        writer = recording.as_writer(evaluator.writer)
        writer = writer.replace(collection=evaluator.name).update_from_root_cfg(self)
        return evaluator.replace_inherited(writer=writer)

    @property
    def _kept(self) -> _run_description.RunDescription:
        """This trainer, typed as what `__post_init__` makes of the fields."""
        return cast(_run_description.RunDescription, self)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __post_konfig_resolve__(self, cfg: Any) -> None:
        self._set("raw_cfg", cfg)

    def replace(self, **changes: Any) -> Trainer:
        """Returns a copy with some fields changed; parts that inherited them follow."""
        return dataclasses.replace(self, **changes)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows of it; `repr` has every field."""
        printer.text(recording.run_tables.overview(self) if not cycle else "...")

    @cell_errors.short_errors()
    def train(self) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
        """Trains until the last step, or continues a run that was stopped.

        Returns:
          The final state, and the measurements of the last logging step (`None` if the
          run was finished already).

        Raises:
          UserError: If something in the description is wrong; nothing was started.
          TrainingInterrupted: If a signal ended the training.
        """
        if self.setup.eval_only:
            self.continuous_eval(list(self.evals or ()))
            return self.init_state(), None
        with hooks.followed(self) as trainer:
            return train_loop.train(trainer._kept)

    @cell_errors.short_errors()
    def continuous_eval(
        self,
        names: Sequence[str] | str,
        *,
        timeout_secs: float | None = None,
    ) -> dict[str, auxiliaries.AuxiliariesState]:
        """Runs evaluators alongside a training run, see `kd.evals.continuous_eval`."""
        standalone.check_names(self._kept, names)
        _trainer_checks.check_keys(self._kept)
        if self.setup.eval_only:  # otherwise the training writes them
            _eval_only.check_workdir(self.workdir)
            self.setup.run(self._kept)
            _run_files.write(self._kept)
        return standalone.continuous_eval(self._kept, names, timeout_secs=timeout_secs)

    @classmethod
    @config_classes.leaves_unresolved(*_UNRESOLVED)
    def eval_only(cls, **kwargs: Any) -> Trainer:
        """Returns a trainer that evaluates another run and trains nothing.

        `train()` runs all its evaluators. Their results go to its own workdir. What is not
        given comes from the config of the other run: `model`, `sharding`, `rng_streams`,
        `seed`, and the shapes of `train_ds`. In a config, `kd.train.Trainer.eval_only()`.

        Args:
          **kwargs: Fields of the trainer. `aux` has the `workdir` of the other run, and
            may have the `step` (the newest unless given) and, in `trusted`, packages
            that the config of that run may use, see `workdirs.load_config`.

        Raises:
          TrainerError: If `aux.workdir` is missing, or `setup.eval_only` is off.
        """
        return cls(**_eval_only.fill_in(kwargs))

    def last_step(self) -> int:
        """Returns how many updates the run makes in all.

        Raises:
          TrainerError: If neither `num_train_steps` nor the dataset says so.
        """
        return _trainer_checks.last_step(self._kept)

    @cell_errors.short_errors()
    def init_state(
        self,
        *,
        skip_transforms: bool = False,
        skip_optimizer: bool = False,
        element_spec: Any = None,
    ) -> TrainState:
        """Returns the state before the first step, see `TrainStep.init`."""
        if element_spec is None:
            element_spec = self.train_ds.element_spec
        return self.trainstep.init(
            element_spec, skip_transforms=skip_transforms, skip_optimizer=skip_optimizer
        )

    @cell_errors.short_errors()
    def check(self) -> None:
        """Finds keys and shapes that don't fit, without compiling anything.

        Raises:
          CheckError: A `KeyError` and `ValueError` that lists all of them: the field as
            written in the config, the bad key, and the nearest ones that exist.
        """
        _trainer_checks.check(self._kept)

    @cell_errors.short_errors()
    def debug(
        self, state: TrainState | None = None, batch: PyTree = None
    ) -> tuple[TrainState, context.Context]:
        """Runs one step without jit, so that `breakpoint()` and `print` see its arrays.

        Args:
          state: Where from; the initial state unless given. It can be used again.
          batch: The first of `train_ds` unless given.

        Returns:
          The next state, and everything there was in the step.
        """
        state, batch = looking.inputs_of(self, state, batch)
        with jax.disable_jit(), cell_errors.breakpoints_enter_pdb():
            return looking.step_context(self.trainstep, state, batch)

    @property
    def logged_schedules(self) -> Mapping[str, Any]:
        """`schedules`, and the learning rates of the optimizer that are not in there."""
        return self._compiled_schedules

    @functools.cached_property
    def _compiled_schedules(self) -> Mapping[str, Any]:
        return optim.schedules_to_log(self.trainstep.optimizer, self.schedules)

    @functools.cached_property
    def state_specs(self) -> TrainState:
        """The initial state as `jax.ShapeDtypeStruct`s, with shardings."""
        state = jax.eval_shape(functools.partial(self.init_state, skip_transforms=True))
        return sharding.with_sharding_constraint(
            state, self._kept.sharding.state_of(state)
        )

    @property
    def logical_axes(self) -> PyTree:
        """The names of the axes of each variable of the model, `kd.nn.logical_axes`."""
        return self._named[0]

    @property
    def named_activations(self) -> Sequence[Any]:
        """The activations whose axes the model names, of one batch."""
        return self._named[1]

    @functools.cached_property
    def _named(self) -> tuple[PyTree, Sequence[Any]]:
        batch = data_utils.batch_specs(self.train_ds.element_spec)
        start = context.Context(step=jnp.zeros((), jnp.int32), batch=batch)
        args, kwargs = data_utils.get_model_inputs(self.model, start)
        with sharding.record_activations() as activations:
            axes = modules.logical_axes(self.model, *args, **kwargs)
        return axes, activations

    @functools.cached_property
    def context_specs(self) -> context.Context:
        """The context at the end of a training step, as `jax.ShapeDtypeStruct`s."""
        batch = data_utils.batch_specs(self.train_ds.element_spec)
        return looking.step_specs(self.trainstep, self.state_specs, batch)


_DEFAULT_PARTS = {
    **dict.fromkeys(_trainer_checks.DICTS, dict),
    "checkify_error_categories": frozenset,
    "writer": recording.NoopWriter,
    "checkpointer": checkpoints.NoopCheckpointer,
    "init_transform": checkpoints.NoopTransform,
    "evals": dict,
    "profiler": recording.NoopProfiler,
    "exporter": export.NoopExporter,
}
