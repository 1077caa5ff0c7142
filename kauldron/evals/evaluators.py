"""Evaluators: run the model over a whole dataset and merge the measurements."""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Self

import jax
import numpy as np
from etils import epath
from jax.experimental import checkify

from kauldron import checkpoints, kontext, sharding
from kauldron._base import root_refs
from kauldron.evals import (
    _batches,
    _evaluator_checks,
    _merging,
    base,
    example_rows,
    output_files,
    write_outputs,
)
from kauldron.evals.base import CollectionKeys, EvaluatorBase
from kauldron.sharding import TrainState
from kauldron.step import (
    auxiliaries,
    intermediates,
    shared_programs,
    step_inputs,
    train_step,
)
from kauldron.step.context import Context

__all__ = ["CollectionKeys", "Evaluator", "EvaluatorBase"]


_GROUPS = ("losses", "metrics", "summaries")
_DEFAULTS = {
    **dict.fromkeys(_GROUPS, dict),
    "init_transform": checkpoints.NoopTransform,
    "checkify_error_categories": frozenset,
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluator(EvaluatorBase):
    """Measures the trainer's losses, metrics and summaries on another dataset.

    Every example counts exactly once: the last batch may be smaller.

    Attributes:
      num_batches: How many batches; `None` is the whole dataset.
      cache: Whether the batches stay on the devices; needs `num_batches`.
      ds: The dataset; the trainer's `eval_ds` unless given.
      losses: As in the trainer, unless given; `{}` for none.
      metrics: As in the trainer, unless given; `{}` for none.
      summaries: As in the trainer, unless given; `{}` for none.
      model: The model; the trainer's unless given.
      model_method: Method to call; `__call__` unless given.
      init_transform: Changes the state before each evaluation.
      checkify_error_categories: Errors to look for inside the step; each batch then waits
        for the devices. As in the trainer, unless given.
      outputs: Values of every example that are written to disk; `None` writes none.
    """

    num_batches: int | None = None
    cache: bool = False
    ds: Any = root_refs.ROOT_CFG_REF.eval_ds
    losses: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_losses
    metrics: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_metrics
    summaries: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_summaries
    model: Any = root_refs.ROOT_CFG_REF.model
    model_method: str | Callable[..., Any] | None = None
    init_transform: checkpoints.InitTransform = dataclasses.field(
        default_factory=checkpoints.NoopTransform
    )
    checkify_error_categories: frozenset[Any] = (
        root_refs.ROOT_CFG_REF.checkify_error_categories
    )
    outputs: write_outputs.WriteOutputs | None = None

    # Which of the methods "to override" a subclass does override.
    _own_methods: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_methods = frozenset(
            name
            for name in ("_forward", "_step")
            if getattr(cls, name) is not getattr(Evaluator, name)
        )

    @property
    def has_own_forward(self) -> bool:
        """Whether a subclass has overridden how the model is called."""
        return "_forward" in self._own_methods

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, default in _DEFAULTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default())
        categories: Any = self.checkify_error_categories
        if isinstance(categories, list | tuple | set):  # what a flag, or JSON, can say
            object.__setattr__(self, "checkify_error_categories", frozenset(categories))
        _check_kinds(self)
        if self.num_batches is not None and self.num_batches < 1:
            raise ValueError(
                "`num_batches` must be at least 1, or None for the whole dataset: got "
                f"{self.num_batches}."
            )
        if self.cache and self.num_batches is None:
            raise ValueError("`cache=True` needs `num_batches`.")
        if self.outputs is not None and "_step" in self._own_methods:
            raise TypeError(
                f"`{type(self).__name__}` overrides `_step`, which returns no context "
                "that `outputs` could point into. Override `_forward` instead."
            )

    def update_from_root_cfg(self, root_cfg: Any) -> Evaluator:
        bound = super().update_from_root_cfg(root_cfg)
        if bound.ds is None:
            raise ValueError(
                f"The evaluator {self.name!r} has no dataset: set `cfg.eval_ds`, or "
                f"`cfg.evals[{self.name!r}].ds`."
            )
        return bound

    def check(
        self, run: base.Run, state: TrainState, *, field: str
    ) -> list[kontext.KeyProblem]:
        return _evaluator_checks.check(self, run, state, field=field)

    def measures(self) -> Collection[str]:
        return (*self.losses, *self.metrics, "total")

    def writing_to(self, folder: epath.Path | None) -> Self:
        evaluator = super().writing_to(folder)
        if self.outputs is None:
            return evaluator
        outputs = None if folder is None else self.outputs.replace(workdir=folder)
        return evaluator.replace(outputs=outputs)

    def evaluate(self, state: TrainState, step: int) -> auxiliaries.AuxiliariesState:
        merging = _merging.Merging()
        with self._open_outputs(step) as files:
            for aux, rows in self.iter_batches(state):
                merging.add(aux)
                files.add(rows)
        merged = merging.result()
        self.writer.write_step_metrics(
            step=step, aux=merged, schedules={}, log_summaries=True
        )
        return merged

    def iter_batches(
        self, state: TrainState, *, ds: Any = None
    ) -> Iterator[tuple[auxiliaries.AuxiliariesState, Any]]:
        """Measures the dataset batch by batch; nothing waits for the devices.

        Args:
          state: State to evaluate, before `init_transform`.
          ds: Another dataset than that of the evaluator; all of it is measured.

        Yields:
          The states of a batch, and the `Rows` that `outputs` names (or `None`).
        """
        self._assert_root_cfg_resolved()
        if self.discard_opt:
            state = dataclasses.replace(state, opt_state=None)
        state = self.init_transform.transform(state)
        loaded = self._batches() if ds is None else self._load_batches(ds)
        for step_nr, batch in enumerate(loaded):
            aux, arrays = self._measure_batch(step_nr, state, batch.batch)
            rows = None
            if self.outputs is not None:
                num_rows = example_rows.num_rows_of(batch.batch)
                rows = example_rows.Rows(
                    arrays, batch.outputs, num_rows, batch.is_whole
                )
            yield aux, rows

    def step(
        self, step_nr: int, state: TrainState, batch: Any
    ) -> auxiliaries.AuxiliariesState:
        """Measures one batch; `step_nr` is its index."""
        return self._measure_batch(step_nr, state, batch)[0]

    def _measure_batch(self, step_nr: int, state: TrainState, batch: Any) -> Any:
        train_step.check_state(state)
        try:
            # JAX sends the number to the devices, if anything there needs it.
            with sharding.allowing_transfers():
                packed, rows = self._jitted_step(np.int32(step_nr), state, batch)
        except Exception:
            step_inputs.check_batch(batch)
            raise
        sharding.settle(packed)
        return auxiliaries.AuxiliariesState.unpack(packed), rows

    def _forward(self, step_nr: jax.Array, state: TrainState, batch: Any) -> Context:
        """Runs the model on one batch inside jit; override it to sample, for instance.

        Returns:
          A context with `preds`, into which losses, metrics, summaries and outputs point.
        """
        return train_step.forward(
            Context.from_state_and_batch(state=state, batch=batch),
            model=self.model,
            rngs=self.base_cfg.rng_streams.eval_rngs(step_nr),
            is_training=False,
            method=self.model_method,
            capture=intermediates.captured_by(
                self.losses, self.metrics, self.summaries, keys=self._output_keys
            ),
            precision=self.base_cfg.precision,
        )

    def _step(
        self, step_nr: jax.Array, state: TrainState, batch: Any
    ) -> auxiliaries.AuxiliariesState:
        """Measures one batch inside jit; may be overridden."""
        return self._measure(self._forward(step_nr, state, batch))

    def _measure(self, context: Context) -> auxiliaries.AuxiliariesState:
        return self.aux.update_context(context).get_aux_state(
            return_losses=True, return_metrics=True, return_summaries=True
        )

    @property
    def ds_iter(self) -> Iterator[Any]:
        """The batches of one evaluation, on the devices; each use starts over."""
        self._assert_root_cfg_resolved()
        return (batch.batch for batch in self._batches())

    @property
    def aux(self) -> auxiliaries.Auxiliaries:
        """Losses, metrics and summaries of this evaluator."""
        return auxiliaries.Auxiliaries(
            losses=self.losses, metrics=self.metrics, summaries=self.summaries
        )

    @functools.cached_property
    def _jitted_step(self) -> Callable[..., Any]:
        def step(step_nr: jax.Array, state: TrainState, batch: Any) -> Any:
            with self.base_cfg.sharding.set_global_mesh():
                return measured(step_nr, state, batch)

        def measured(step_nr: jax.Array, state: TrainState, batch: Any) -> Any:
            rows = {}
            if self.outputs is None:
                aux = self._step(step_nr, state, batch)
            else:
                # What is measured besides must not change how predictions are computed:
                # they are the same bits wherever they are written.
                context = _isolated(self._forward(step_nr, state, batch))
                rows = example_rows.take(context, self.outputs.keys)
                aux = self._measure(context)
            return aux.pack(self.base_cfg.sharding), rows

        if not self.checkify_error_categories:
            return shared_programs.SharedJit(step)
        checked = jax.jit(
            checkify.checkify(step, errors=self.checkify_error_categories)
        )

        def checked_step(*args: Any) -> Any:
            error, results = checked(*args)
            error.throw()
            return results

        return checked_step

    def _batches(self) -> Iterator[_batches.LoadedBatch]:
        if self.cache:
            yield from self._cached_batches
        else:
            yield from self._load_batches(self.ds, self.num_batches)

    @functools.cached_property
    def _cached_batches(self) -> list[_batches.LoadedBatch]:
        return list(self._load_batches(self.ds, self.num_batches))

    def _load_batches(
        self, ds: Any, num_batches: int | None = None
    ) -> Iterator[_batches.LoadedBatch]:
        return _batches.load(
            ds,
            batch_sharding=self.base_cfg.sharding.batch,
            num_batches=num_batches,
            output_keys=self._output_keys,
            name=self.name,
        )

    @property
    def _output_keys(self) -> example_rows.Keys:
        return () if self.outputs is None else self.outputs.keys

    def _open_outputs(self, step: int) -> Any:
        if self.outputs is None:
            return output_files.NoFiles()
        return self.outputs.open(self.name, step)


def _isolated(context: Context) -> Context:
    """Keeps XLA from fusing the forward pass with what follows it."""
    outputs = (context.preds, context.interms)
    leaves, structure = jax.tree.flatten(outputs)
    is_array = [isinstance(leaf, jax.Array) for leaf in leaves]
    arrays = [leaf for leaf, yes in zip(leaves, is_array, strict=True) if yes]
    isolated = iter(jax.lax.optimization_barrier(arrays))
    preds, interms = structure.unflatten(
        next(isolated) if yes else leaf
        for leaf, yes in zip(leaves, is_array, strict=True)
    )
    return dataclasses.replace(context, preds=preds, interms=interms)


def _check_kinds(evaluator: Evaluator) -> None:
    """Raises for a value of another kind than its field."""
    kinds: dict[str, tuple[Any, str]] = {
        **dict.fromkeys(_GROUPS, (Mapping, "a dict, `{'name': kd.metrics...}`")),
        "init_transform": (checkpoints.InitTransform, "an init transform"),
        "checkify_error_categories": (frozenset, "a set"),
        "num_batches": (int | np.integer | None, "a whole number, or None"),
    }
    for name, (kind, words) in kinds.items():
        value = getattr(evaluator, name)
        is_bound = not isinstance(value, root_refs.RootCfgRef)
        if is_bound and (not isinstance(value, kind) or value is True):
            raise TypeError(f"`{name}` must be {words}: got {reprlib.repr(value)}.")
