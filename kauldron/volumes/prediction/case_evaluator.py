"""`CaseEvaluator`: whole cases, predicted by sliding windows, measured and written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from etils import epath

from kauldron import checkpoints, kontext, runs
from kauldron._base import console, root_refs
from kauldron.evals import base, file_prediction
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, key_checks, text_keys
from kauldron.step.context import Context
from kauldron.volumes.cases import dataset
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import sliding_windows
from kauldron.volumes.prediction import (
    _case_files,
    _checks,
    _folder,
    _missing,
    _patch_network,
    _predicted,
    _whole_cases,
    combining,
    outputs,
)

_MEMBERS = ("mean", "median", "vote")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CaseEvaluator(base.EvaluatorBase):
    """Predicts whole cases patch by patch, measures them and writes them to files.

    A case is predicted once by each member: each checkpoint of an ensemble, as it is and
    in each augmented copy, with each draw of dropout. What they predict goes back to the
    place of the case and becomes one.

    Losses, metrics and summaries see whole cases: `batch.<group>`, `batch.case` and
    `preds.<name>` are `[1 z y x c]`. Of the model, only outputs of the size of a patch
    that some key reads are put together.

    `evaluate` writes to `workdir/outputs/<name>/step_<n>/`, `kauldron predict --out=DIR`
    to a folder of yours, where a run that was interrupted goes on behind the cases that
    are complete.

    Attributes:
      ds: `kd.volumes.VolumeCases`; the trainer's `eval_ds` unless given. Whole cases are
        taken of it, one by one and not augmented, whatever its `patches` are.
      window: How patches are cut and blended.
      losses: As in the trainer, unless given; `{}` for none.
      metrics: As in the trainer, unless given; `{}` for none.
      summaries: As in the trainer, unless given; `{}` for none.
      outputs: Name -> `kd.volumes.Output`, what is written of each case.
      combine: What losses and metrics see of several members: `'mean'`, `'median'`, or
        `'vote'`, for each class the share of the members.
      ensemble: Further checkpoints: steps of this run, or workdirs of others, with the
        step behind an `@`: `'runs/fold_1@best'`.
      augment: `kd.volumes.augment.Augment`: the model also predicts its `copies`.
      num_dropouts: How often each member predicts with dropout; 0 is once, without.
      by_slabs: For cases larger than memory: they are read, predicted, measured and written
        some planes at a time, with the same numbers. What members predict is kept in
        temporary files (of `$TMPDIR`). Losses, summaries and metrics of whole cases are
        refused.
      model: The model; the trainer's unless given.
      model_method: Method to call; `__call__` unless given.
      init_transform: Changes the state before each evaluation.

    Raises:
      VolumeError: If a value cannot work.

    Example:

    ```python
    kd.volumes.CaseEvaluator(
        run=kd.evals.Final(),
        window=kd.volumes.SlidingWindow(patch_size=(64, 64, 64)),
        outputs={
            "seg": kd.volumes.Output(
                key="preds.logits",
                like="ct",
                post=[kd.volumes.transforms.Softmax()],
                final=[kd.volumes.transforms.Argmax()],
            )
        },
    )
    ```
    """

    ds: Any = root_refs.ROOT_CFG_REF.eval_ds
    window: sliding_windows.SlidingWindow
    losses: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_losses
    metrics: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_metrics
    summaries: Mapping[str, Any] = root_refs.ROOT_CFG_REF.train_summaries
    outputs: Mapping[str, outputs.Output] = dataclasses.field(default_factory=dict)
    combine: str = "mean"
    ensemble: Sequence[int | str] = ()
    augment: Any = None
    num_dropouts: int = 0
    by_slabs: bool = False
    model: Any = root_refs.ROOT_CFG_REF.model
    model_method: str | Callable[..., Any] | None = None
    init_transform: checkpoints.InitTransform = dataclasses.field(
        default_factory=checkpoints.NoopTransform
    )
    workdir: Any = dataclasses.field(default=root_refs.ROOT_CFG_REF.workdir, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        combining.check(self.combine, _MEMBERS, "CaseEvaluator.combine")
        if self.num_dropouts < 0:
            raise VolumeError(
                f"`num_dropouts` is a number of predictions: got {self.num_dropouts}."
            )

    def measures(self) -> Collection[str]:
        return (*self.losses, *self.metrics, "total")

    def check(
        self, run: base.Run, state: TrainState, *, field: str
    ) -> list[kontext.KeyProblem]:
        problems: list[kontext.KeyProblem] = []
        context = key_checks.initial_context(state, self._cases, field=f"{field}.ds")
        batch = context.batch
        seen = _checks.patch_specs(self.window, batch, self.window.context_slices)
        context = dataclasses.replace(context, batch=seen)
        after = key_checks.run_model(
            key_checks.ForwardPass(
                model=self.model,
                field="cfg.model" if self.model is run.model else f"{field}.model",
                method=self.model_method,
                make_rngs=run.rng_streams.eval_rngs,
                is_training=False,
                precision=run.precision,
            ),
            context,
            problems,
        )
        if after is not None:
            after = dataclasses.replace(
                after, batch=_checks.patch_specs(self.window, batch), interms=None
            )
            problems += _checks.blending_problems(
                self.window, self._read_preds, after, field
            )
            groups = {f"{field}.{name}": getattr(self, name) for name in _GROUPS}
            key_checks.check_groups(groups, after, problems)
            for name, output in self.outputs.items():
                problems += kontext.check_keys(
                    after, output, prefix=f"{field}.outputs[{name!r}]"
                )
        if self.by_slabs:
            groups = {name: getattr(self, name) for name in _GROUPS}
            problems += _checks.slab_problems(field, self._cases, **groups)
        return text_keys.tell_texts(problems, self._cases)

    def writing_to(self, folder: epath.Path | None) -> Self:
        return super().writing_to(folder).replace(workdir=folder)

    def evaluate(self, state: TrainState, step: int) -> auxiliaries.AuxiliariesState:
        self._assert_root_cfg_resolved()
        merged: auxiliaries.AuxiliariesState | None = None
        folder = None
        if self.outputs and self.workdir is not None:
            path = epath.Path(self.workdir) / "outputs" / self.name / f"step_{step}"
            folder = self._open(path, step)
        for predicted in self._predicted(state):
            for batch, members in predicted.slabs():
                aux = self._measure(state, batch, members)
                merged = aux if merged is None else merged.merge_each(aux)
            if folder is not None:
                self._write(folder, predicted)
        assert merged is not None  # a dataset has at least one case
        self.writer.write_step_metrics(
            step=step, aux=merged, schedules={}, log_summaries=True
        )
        return merged

    def write_folder(
        self, state: TrainState, folder: epath.PathLike, *, step: int, ds: Any = None
    ) -> Iterator[str]:
        """Writes the outputs of each case; those that are complete are left out.

        Args:
          state: The state, before `init_transform`.
          folder: Where to.
          step: Which checkpoint the state is, so that folders are not mixed up.
          ds: Other cases than those of the evaluator.

        Yields:
          The files that were written.

        Raises:
          VolumeError: If there are no outputs, a case cannot be used, or the folder has
            other files.
        """
        if not self.outputs:
            raise VolumeError(
                f"The evaluator {self.name!r} writes nothing: say what, with "
                "`outputs={'seg': kd.volumes.Output(key='preds.logits', like='ct')}`."
            )
        evaluator = self if ds is None else self.replace(ds=ds)
        with _missing.explained(evaluator.model, self.outputs, evaluator._cases):
            cases = evaluator._cases.case_names
        opened = evaluator._open(folder, step)
        if num := sum(map(opened.is_complete, cases)):
            console.log(f"{folder}: {num} of {len(cases)} cases are there already.")
        for predicted in evaluator._predicted(state, skip=opened.is_complete):
            for file in evaluator._write(opened, predicted):
                yield str(file)

    def file_interface(self) -> file_prediction.FileInterface:
        """Returns which volumes it reads and writes, and what it can measure of them."""
        self._assert_root_cfg_resolved()
        return _case_files.interface(
            self._cases,
            model=self.model,
            losses=self.losses,
            metrics=self.metrics,
            written=self.outputs,
            max_copies=0 if self.augment is None else self.augment.copies,
            members=self.ensemble,
            run=self.base_cfg,
        )

    def file_config(self, cfg: Any) -> Any:
        """Returns the config of the run with no cases of its own."""
        return _case_files.without_cases(cfg, self.name)

    def predict_files(
        self, states: Sequence[TrainState], request: file_prediction.FileRequest
    ) -> Iterator[file_prediction.FileResult]:
        """Yields the files written of each case, on its grid, then what they measure."""
        mask = _case_files.mask_group(self.ds, model=self.model, metrics=self.metrics)
        cases = _whole(_case_files.with_files(self.ds, request, mask))
        measure = functools.partial(self._measure, states[0])
        yield from _case_files.predict(
            cases,
            self._predictor,
            states,
            request,
            written=self.outputs,
            augment=self.augment,
            measure=measure,
        )

    def _predicted(
        self, state: TrainState, *, skip: Callable[[str], bool] = lambda case: False
    ) -> Iterator[_predicted.Predicted]:
        """Yields what members predict of each case; files are gone at the next one."""
        if jax.process_count() > 1:
            raise VolumeError(
                "Cases are predicted by one process: run `kauldron predict` on one "
                "machine."
            )
        state = dataclasses.replace(
            self.init_transform.transform(state), opt_state=None
        )
        states = [state, *self._further_states]
        members = {"augment": self.augment, "num_dropouts": self.num_dropouts}
        if self.by_slabs:
            for case in self._cases.case_names:
                if not skip(case):
                    with (
                        _explained(case),
                        self._predictor.by_slabs(
                            states, self._cases, case, **members
                        ) as predicted,
                    ):
                        yield predicted
            return
        with iter(self._cases) as batches:
            for batch in batches:
                case = str(batch["case"][0])
                if not skip(case):
                    with _explained(case):
                        yield _predicted.Predicted.whole(
                            batch, self._predictor(states, batch, **members)
                        )

    def _measure(
        self, state: TrainState, batch: Any, predicted: list[dict[str, PyTree]]
    ) -> auxiliaries.AuxiliariesState:
        combine = combining.COMBINATIONS[self.combine]
        combined = jax.tree.map(
            lambda *members: jnp.asarray(
                members[0] if len(members) == 1 else combine(members)
            )[None],
            *predicted,
        )
        context = Context.from_state_and_batch(state=state, batch=batch)
        preds = _patch_network.nested(combined).get("preds")
        context = dataclasses.replace(context, preds=preds)
        aux = auxiliaries.Auxiliaries(
            losses=self.losses,
            metrics=_predicted.with_cases(self.metrics),
            summaries=self.summaries,
        )
        return aux.update_context(context).get_aux_state(
            return_losses=True, return_metrics=True, return_summaries=True
        )

    def _write(
        self, folder: _folder.PredictionFolder, predicted: _predicted.Predicted
    ) -> list[pathlib.Path]:
        case, written = predicted.case, []
        for name, output in self.outputs.items():
            volume = output.opened(
                predicted.of(output.key), predicted.geometry, self._cases, case
            )
            num = predicted.num_numbers if self.by_slabs else 0
            written.append(folder.write(case, name, volume, num_numbers=num))
        return written

    def _open(self, path: epath.PathLike, step: int) -> _folder.PredictionFolder:
        made_by = {
            "step": step,
            "outputs": {k: _folder.described(x) for k, x in self.outputs.items()},
            "window": _folder.described(self.window),
            "ensemble": [str(member) for member in self.ensemble],
            "augment": repr(self.augment),
            "num_dropouts": self.num_dropouts,
        }
        suffixes = {name: output.suffix for name, output in self.outputs.items()}
        return _folder.PredictionFolder(path, suffixes, made_by)

    @property
    def _read_preds(self) -> tuple[str, ...]:
        return _patch_network.read_preds(
            [self.losses, self.metrics, self.summaries],
            keys=[output.key for output in self.outputs.values()],
        )

    @functools.cached_property
    def _cases(self) -> dataset.VolumeCases:
        if not isinstance(self.ds, dataset.VolumeCases):
            raise VolumeError(
                f"`evals[{self.name!r}].ds` must be `kd.volumes.VolumeCases`: got "
                f"{type(self.ds).__name__}."
            )
        return _whole(self.ds)

    @functools.cached_property
    def _further_states(self) -> list[TrainState]:
        return [
            dataclasses.replace(
                self.init_transform.transform(
                    runs.restore_member(member, self.base_cfg)
                ),
                opt_state=None,
            )
            for member in self.ensemble
        ]

    @functools.cached_property
    def _predictor(self) -> _whole_cases.CasePredictor:
        network = _patch_network.PatchNetwork(
            run=self.base_cfg,
            model=self.model,
            method=self.model_method,
            keys=self._read_preds,
        )
        return _whole_cases.CasePredictor(network=network, window=self.window)


_GROUPS = ("losses", "metrics", "summaries")


@contextlib.contextmanager
def _explained(case: str) -> Iterator[None]:
    """Adds to an error which case is predicted."""
    try:
        yield
    except Exception as e:
        e.add_note(f"While predicting the case {case!r}.")
        raise


def _whole(ds: dataset.VolumeCases) -> dataset.VolumeCases:
    """Returns the same cases, one by one and not augmented."""
    whole = dataclasses.replace(
        ds, patches=None, augment=None, batch_size=1, num_epochs=1, shuffle=False
    )
    cases = whole.for_evaluation()
    assert isinstance(cases, dataset.VolumeCases)
    return cases
