"""`Predictor`: a trained model, applied to batches, datasets and files."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import export, konfig, kontext, optim, sharding
from kauldron._base import errors
from kauldron.data import utils as data_utils
from kauldron.evals import (
    base,
    evaluators,
    example_rows,
    output_files,
    output_pieces,
    rows_in_memory,
    run_strategies,
    write_outputs,
)
from kauldron.runs import _forwards, _input_files, _saved_state
from kauldron.sharding import TrainState
from kauldron.step.context import Context
from kauldron.workdir import array_spec, workdirs

_MAX_BYTES_PER_FILE = 2**29


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """A trained model, ready to be applied; dropout is off.

    It computes what an evaluator does: for the same checkpoint, dataset and batch size,
    predictions are the same bits that `kd.evals.WriteOutputs` writes.

    Example:

    ```python
    predictor = kd.evals.Predictor.from_workdir("run")
    preds = predictor(batch)  # for instance {"logits": f32[32 10]}
    ```

    Attributes:
      trainer: The run.
      state: The restored state.
      evaluator: Says which model, method, dataset and `init_transform` are used.
    """

    trainer: base.Run
    state: TrainState
    evaluator: evaluators.Evaluator

    @classmethod
    def from_workdir(
        cls,
        workdir: epath.PathLike,
        *,
        step: int | str | None = -1,
        eval_name: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        trusted: Iterable[str] = (),
    ) -> Self:
        """Returns the model of a run; nothing but its workdir is needed.

        Args:
          workdir: Directory of the run.
          step: Which checkpoint; -1 or 'latest' is the newest, 'best' that of
            `Checkpointer.best_metric_path`.
          eval_name: Predicts as this evaluator does, for instance with its
            `init_transform`, on its dataset. Otherwise with the trainer's model, as it
            was trained, on `eval_ds`.
          overrides: Changes of the config: `{"eval_ds.batch_size": 8}`.
          trusted: Packages whose names the config may use, see `konfig.load`.

        Raises:
          WorkdirConfigError: If there is no such run.
          PredictError: If there is no such checkpoint or evaluator.
        """
        cfg = workdirs.load_config(workdir, overrides=overrides, trusted=trusted)
        return cls.from_trainer(konfig.resolve(cfg), step=step, eval_name=eval_name)

    @classmethod
    def from_trainer(
        cls,
        trainer: base.Run,
        *,
        step: int | str | None = -1,
        eval_name: str | None = None,
    ) -> Self:
        """Returns the model of a trainer whose run has a checkpoint.

        Raises:
          PredictError: If there is no such checkpoint or evaluator.
        """
        evaluator = _as_evaluator(trainer, eval_name)
        return cls(
            trainer=trainer,
            state=_saved_state.restore_state(trainer, step),
            evaluator=evaluator,
        )

    @property
    def step(self) -> int:
        """Number of updates the parameters have seen."""
        return int(self.state.step)

    def __call__(self, batch: Any) -> Any:
        """Returns the predictions for one batch, as NumPy arrays.

        Args:
          batch: As the pipeline yields it, of any number of rows; the model's inputs
            are enough.

        Raises:
          KeyPathError: If the batch lacks an input of the model.
        """
        batch = data_utils.for_devices(batch)
        context = self._initial_context(data_utils.batch_specs(_specs_of(batch)))
        self._check_model_inputs(context)
        placed = sharding.put_batch(batch, self.trainer.sharding.batch, is_whole=False)
        return jax.device_get(self._jitted_preds(self.transformed_state, placed))

    def predict(
        self, ds: Any = None, *, keys: example_rows.Keys = "preds"
    ) -> dict[str, np.ndarray]:
        """Returns values of every example: column -> `[n ...]`, in order of the dataset.

        With several processes, these are the rows of this process.

        Args:
          ds: A pipeline; that of the evaluator unless given.
          keys: As in `kd.evals.WriteOutputs`.

        Raises:
          KeyPathError: If a key does not exist; nothing is compiled then.
        """
        collected = rows_in_memory.InMemory()
        self._run(ds, keys, collected)
        return collected.columns()

    def write(
        self, path: epath.PathLike, ds: Any = None, *, keys: example_rows.Keys = "preds"
    ) -> dict[str, array_spec.ArraySpec]:
        """Writes values of every example to a file; for the arguments, see `predict`.

        Args:
          path: A `.npz` or `.parquet` file. Large outputs, and those of several
            processes, become several files, which `kd.evals.read_outputs(path)` reads.
          ds: A pipeline; that of the evaluator unless given.
          keys: As in `kd.evals.WriteOutputs`.

        Returns:
          Column -> shape and dtype of what was written.
        """
        check_suffix(path)
        files = output_files.OutputFiles(path, max_bytes_per_file=_MAX_BYTES_PER_FILE)
        self._run(ds, keys, files)
        return files.specs

    def export(
        self,
        out: epath.PathLike,
        *,
        ds: Any = None,
        ema: bool = False,
        drops: bool = False,
        **options: Any,
    ) -> export.Written:
        """Writes the model as a folder that runs without its source.

        Args:
          out: The folder.
          ds: A pipeline that says what the inputs are; that of the evaluator unless
            given.
          ema: Whether the average of the parameters is exported, see
            `kd.optim.ema_params`.
          drops: Whether dropout drops, so that the program draws random numbers.
          **options: As in `kd.export.export`: `format`, `platforms`, `batch_size`,
            `quantize`, `labels`, `overwrite`.

        Raises:
          ExportError: If something cannot be exported; nothing is written then.
        """
        ds = self.evaluator.ds if ds is None else ds
        state = self.transformed_state
        if ema:
            state = optim.UseEmaParams().transform(self.state)
        evaluator = self._evaluator("preds")
        forward = _forwards.dropping if drops else _forwards.as_it_is
        return export.export(
            self.trainer,
            state,
            out,
            ds=None if isinstance(ds, _NoDataset) else ds,
            element_spec=_saved_state.element_spec(self.trainer),
            forward=functools.partial(forward, evaluator),
            **options,
        )

    def open(self, paths: Any, *, like: Any = None) -> Any:
        """Returns a pipeline over files that goes through the transforms of another.

        Args:
          paths: A file, a pattern such as `'scans/*.png'`, or several: `.npz`, `.npy`,
            `.parquet`, `.json`, `.jsonl`, `.csv` or images. Images are elements
            `{"image": u8[h w c], "file": str}`.
          like: Pipeline whose transforms and batch size are used; that of the evaluator
            unless given. Transforms of keys that the files lack, such as labels, are
            left out.

        Raises:
          DataError: If there are no such files, or they cannot be read.
        """
        like = self._dataset(like)
        return _input_files.open_inputs(
            paths, like=like, element_spec=_saved_state.element_spec(self.trainer)
        )

    def check(self, ds: Any = None, *, keys: example_rows.Keys = "preds") -> None:
        """Finds keys that don't fit, without compiling anything.

        Raises:
          KeyPathError: If one does not exist; names the nearest.
        """
        specs = self._dataset(ds).for_evaluation().element_spec
        context = self._initial_context(data_utils.batch_specs(specs))
        self._check_model_inputs(context)
        forward, state = self._evaluator(keys)._forward, self._state_specs
        try:
            context = jax.eval_shape(forward, _int32(), state, context.batch)
        except Exception as e:
            raise _saved_state.PredictError(
                f"The model cannot take these inputs: {type(e).__name__}: {e}\n"
                f"They are {_describe(specs)}."
            ) from e
        context = dataclasses.replace(context, batch=specs)
        _raise_problems(
            example_rows.check(context, example_rows.fields_of(keys, "keys"))
        )

    def _run(self, ds: Any, keys: example_rows.Keys, target: Any) -> None:
        ds = self._dataset(ds)
        self.check(ds, keys=keys)
        with target:
            for _, rows in self._evaluator(keys).iter_batches(self.state, ds=ds):
                target.add(rows)

    def _dataset(self, ds: Any) -> Any:
        ds = self.evaluator.ds if ds is None else ds
        if isinstance(ds, _NoDataset):
            raise _saved_state.PredictError(
                "There is no dataset to predict: the run has no `cfg.eval_ds`. Say which "
                "one, such as `train_ds`, or give files."
            )
        if not hasattr(ds, "for_evaluation"):
            raise _saved_state.PredictError(
                f"Predictions are made for a pipeline: got a {type(ds).__name__}."
            )
        return ds

    def _evaluator(self, keys: example_rows.Keys) -> evaluators.Evaluator:
        """Returns the evaluator that gives these values; one per set of keys, ever."""
        columns = example_rows.by_column(keys)
        cache_key = tuple(columns.items())
        if cache_key not in self._evaluators:
            self._evaluators[cache_key] = self.evaluator.replace(
                losses={},
                metrics={},
                summaries={},
                outputs=write_outputs.WriteOutputs(keys=columns),
            )
        return self._evaluators[cache_key]

    @functools.cached_property
    def _evaluators(self) -> dict[Any, evaluators.Evaluator]:
        return {}

    @functools.cached_property
    def _jitted_preds(self) -> Any:
        evaluator = self._evaluator("preds")

        def preds(state: TrainState, batch: Any) -> Any:
            with self.trainer.sharding.set_global_mesh():
                return evaluator._forward(jnp.int32(0), state, batch).preds

        return jax.jit(preds)

    @functools.cached_property
    def transformed_state(self) -> TrainState:
        """The state that predicts: after the evaluator's `init_transform`."""
        return self.evaluator.init_transform.transform(self.state)

    @property
    def _state_specs(self) -> TrainState:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.state
        )

    def _initial_context(self, batch: Any) -> Context:
        return Context.from_state_and_batch(state=self._state_specs, batch=batch)

    def _check_model_inputs(self, context: Context) -> None:
        model = self.evaluator.model
        _raise_problems(kontext.check_keys(context, model, prefix="cfg.model"))


class _NoDataset:
    """Takes the place of a dataset in a run that has none to evaluate."""


def default_keys(inputs: Any = ()) -> list[str]:
    """Returns what is predicted unless said otherwise; images go with their names."""
    is_named = bool(inputs) and _input_files.are_images(inputs)
    return ["preds", f"batch.{_input_files.FILE_KEY}"] if is_named else ["preds"]


def check_suffix(path: epath.PathLike) -> None:
    """Raises `PredictError` unless the suffix names a format that can be written."""
    suffix = epath.Path(path).suffix.removeprefix(".")
    if suffix not in output_pieces.FORMATS:
        raise _saved_state.PredictError(
            "Predictions are written to a '.npz' or '.parquet' file, or, by an evaluator "
            "of the run that writes one, to a folder, which has no suffix: got "
            f"{os.fspath(path)!r}."
        )


def _as_evaluator(trainer: base.Run, eval_name: str | None) -> evaluators.Evaluator:
    if eval_name is None:
        ds = _NoDataset() if trainer.eval_ds is None else trainer.eval_ds
        evaluator = evaluators.Evaluator(
            name="predict", run=run_strategies.Final(), ds=ds
        )
        return evaluator.update_from_root_cfg(trainer)
    evaluator = trainer.evals.get(eval_name)
    if evaluator is None:
        hint = errors.did_you_mean(eval_name, trainer.evals)
        raise _saved_state.PredictError(
            f"The run has no evaluator {eval_name!r}.{hint} There are "
            f"{list(trainer.evals)}."
        )
    if not isinstance(evaluator, evaluators.Evaluator):
        raise _saved_state.PredictError(
            f"The evaluator {eval_name!r} is a {type(evaluator).__name__}, which does "
            "not predict: name a `kd.evals.Evaluator`."
        )
    return evaluator


def _specs_of(batch: Any) -> Any:
    return jax.tree.map(
        lambda x: array_spec.ArraySpec(shape=np.shape(x), dtype=np.asarray(x).dtype),
        batch,
    )


def _describe(specs: Any) -> str:
    flat = kontext.flatten_with_path(specs, prefix="batch")
    return ", ".join(f"{k}: {kontext.format_spec(v)}" for k, v in flat.items())


def _int32() -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((), "int32")


def _raise_problems(problems: list[kontext.KeyProblem]) -> None:
    if problems:
        listed = "\n".join(f"- {p}".replace("\n", "\n  ") for p in problems)
        raise kontext.KeyPathError(f"This does not fit together:\n{listed}", problems)
