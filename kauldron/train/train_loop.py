"""The training loop.

"Step i" means "i updates applied". Evaluations and checkpoints of step i see that state;
measurements of step i are of the batch that leads from i to i + 1. The order at a step:
evaluate, save, update. The final state is evaluated and saved too.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax

from kauldron import checkpoints, evals, sharding
from kauldron.train import (
    _batches,
    _interrupts,
    _key_report,
    _launches,
    _progress,
    _run_description,
    _run_files,
    _write_queue,
    auxiliaries,
    run_status,
    setup_utils,
)
from kauldron.train.state import TrainState
from kauldron.utils import chrono as chrono_lib
from kauldron.utils import status_utils

_NO_CONTEXT = contextlib.nullcontext()


class TrainingInterrupted(KeyboardInterrupt):
    """A signal ended the training.

    Attributes:
      saved: Whether the state was saved, so that starting again continues the run.
    """

    def __init__(self, message: str, *, saved: bool) -> None:
        super().__init__(message)
        self.saved = saved


@dataclasses.dataclass(frozen=True)
class CheckpointState(checkpoints.items.TopLevelCheckpointItem):
    """What a checkpoint of a run holds."""

    train_state: TrainState
    chrono: chrono_lib.Chrono
    ds_iter: _batches.BatchesAhead

    DEFAULT_ITEM: ClassVar[str] = "train_state"


def train(
    trainer: _run_description.RunDescription,
) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
    """Trains, or continues, until the last step; see `Trainer.train`."""
    trainer.setup.run(trainer)
    with setup_utils.lock(trainer.workdir), _interrupts.catch() as stop:
        latest = trainer.checkpointer.latest_step
        last_step = trainer.last_step()
        trainer.check()
        batches = _batches.BatchesAhead(iter(trainer.train_ds), trainer.sharding.batch)
        try:
            run = _restore_or_init(trainer, batches, latest)
            if latest is not None and latest >= last_step:
                status_utils.log(_progress.finished_message(trainer.workdir, latest))
                with _report(trainer, latest, latest, is_new=False):
                    return run.train_state, None
            if latest is not None:
                status_utils.log(f"Continuing {trainer.workdir} at step {latest}.")
            loop = _Loop(trainer, run, stop, latest, last_step)
            step = int(run.train_state.step)
            with _report(trainer, step, last_step, is_new=latest is None) as report:
                return loop.run(report)
        finally:
            batches.close()
            trainer.checkpointer.close()


def _report(
    trainer: _run_description.RunDescription, step: int, last_step: int, *, is_new: bool
) -> contextlib.AbstractContextManager[Any]:
    """Tells other programs what goes on inside the block."""
    return run_status.report(
        trainer.workdir,
        step=step,
        last_step=last_step,
        is_new=is_new,
        writes=status_utils.is_lead_host(),
    )


def _restore_or_init(
    trainer: _run_description.RunDescription,
    batches: _batches.BatchesAhead,
    latest: int | None,
) -> CheckpointState:
    state = trainer.init_state(skip_transforms=latest is not None)
    chrono = chrono_lib.Chrono(batch_size=getattr(trainer.train_ds, "batch_size", None))
    run = CheckpointState(train_state=state, chrono=chrono, ds_iter=batches)
    if latest is None:
        return run
    return trainer.checkpointer.restore(run, step=latest)


class _Loop:
    """One process's pass over the steps of a run."""

    def __init__(
        self,
        trainer: _run_description.RunDescription,
        run: CheckpointState,
        stop: _interrupts.StopRequest,
        restored_step: int | None,
        last_step: int,
    ) -> None:
        self._trainer = trainer
        self._state = run.train_state
        self._chrono = run.chrono
        self._batches = run.ds_iter
        self._stop = stop
        self._restored_step = restored_step
        self._first_step = int(run.train_state.step)
        self._last_step = last_step
        self._progress = _progress.Progress(self._first_step, last_step)
        self._writing = _write_queue.WriteQueue()
        self._aux: auxiliaries.AuxiliariesState | None = None
        self._has_summaries = bool(trainer.train_summaries)
        self._compiled: set[tuple[bool, bool]] = set()

    def run(
        self, report: Any
    ) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
        """Runs all steps; returns the final state and the last measurements.

        Args:
          report: Whose `step` is the number of updates applied.
        """
        trainer = self._trainer
        # Those of standalone evaluators belong to another process.
        own_evals = [e for e in trainer.evals.values() if e.run.is_along_train]
        writers = [trainer.writer, *(e.writer for e in own_evals)]
        if status_utils.is_lead_host():
            _run_files.write(trainer)
            for writer in writers:
                writer.rewind(self._first_step)
            # In the background: asking git and all packages takes a while.
            self._writing.submit(self._record_launch)
        try:
            self._chrono.start_loop()
            # Entering the guard costs more than all else that is done in a step.
            with jax.transfer_guard("disallow"):
                for step in range(self._first_step, self._last_step):
                    self._evaluate_and_save(step)
                    self._update(step)
                    report.step = step + 1
                    if self._stop:
                        self._interrupt(step + 1)
                self._evaluate_and_save(self._last_step, is_last=True)
            trainer.checkpointer.wait_until_finished()
        finally:
            self._writing.close()
            for writer in writers:
                writer.close()
        status_utils.log(_progress.finished_message(trainer.workdir, self._last_step))
        return self._state, self._aux

    def _record_launch(self) -> None:
        trainer = self._trainer
        _launches.write(trainer.workdir, seed=trainer.seed, first_step=self._first_step)

    def _update(self, step: int) -> None:
        """Applies one update; hands its measurements to the writing thread."""
        trainer = self._trainer
        log_metrics = step % trainer.log_metrics_every == 0
        # Each combination is compiled: one without summaries to show is not another one.
        log_summaries = self._has_summaries and step % trainer.log_summaries_every == 0
        batch = self._batches.next(is_last=step + 1 == self._last_step)
        kind = (log_metrics, log_summaries)
        # The first call of a kind compiles, which is no part of the rate.
        is_new = kind not in self._compiled
        self._compiled.add(kind)
        with self._chrono.pause("compile") if is_new else _NO_CONTEXT:
            self._state, aux = trainer.trainstep.step(
                self._state,
                batch,
                return_losses=log_metrics or log_summaries,
                return_metrics=log_metrics,
                return_summaries=log_summaries,
                checkify_error_categories=trainer.checkify_error_categories,
            )
        sharding.settle(self._state.step)
        self._chrono.finish_step()
        if trainer.checkify_error_categories:
            aux.error.throw()
        if log_metrics or log_summaries:
            self._log(step, aux, log_summaries=log_summaries)

    def _log(
        self, step: int, aux: auxiliaries.AuxiliariesState, *, log_summaries: bool
    ) -> None:
        self._aux = aux
        timings = _progress.Timings(self._chrono.flush_metrics())

        def write() -> None:
            values = self._trainer.writer.write_step_metrics(
                step=step,
                aux=aux,
                schedules=self._trainer.schedules,
                log_summaries=log_summaries,
                timer=timings,
            )
            self._progress.show(step, values, timings)

        self._writing.submit(write)

    def _evaluate_and_save(self, step: int, *, is_last: bool = False) -> None:
        trainer = self._trainer
        due = [
            evaluator
            for evaluator in trainer.evals.values()
            if evaluator.run.should_eval_in_train(step, is_last=is_last)
        ]
        saves = trainer.checkpointer.should_save(step) or (
            is_last and not self._saves_nothing
        )
        if not due and not saves:
            return
        # Lines are written in the order of the steps; and what the steps before a
        # checkpoint have measured is on disk before it, as a restart continues after it.
        self._writing.join()
        with jax.transfer_guard("allow"):
            results = {e.name: self._evaluate(e, step, is_last) for e in due}
            is_saved = step == self._first_step and step == self._restored_step
            if saves and not is_saved:
                self._save(step, metrics=results)

    def _evaluate(
        self, evaluator: evals.EvaluatorBase, step: int, is_last: bool
    ) -> Mapping[str, Any]:
        with self._chrono.pause("evals_along_train"):
            aux = evaluator.maybe_eval(step=step, state=self._state, is_last=is_last)
            return self._progress.show_evaluation(evaluator.name, step, aux)

    @property
    def _saves_nothing(self) -> bool:
        return isinstance(self._trainer.checkpointer, checkpoints.NoopCheckpointer)

    def _save(self, step: int, *, metrics: Mapping[str, Any] | None = None) -> None:
        _key_report.check_measured(self._trainer.checkpointer, metrics or {})
        with self._chrono.pause("checkpoint"):
            self._trainer.checkpointer.save(
                CheckpointState(self._state, self._chrono, self._batches),
                step=step,
                force=True,
                metrics=metrics,
            )

    def _interrupt(self, step: int) -> None:
        if self._saves_nothing:
            raise TrainingInterrupted(
                f"Stopped by {self._stop.signal_name} at step {step}. Nothing was saved: "
                "this run has no checkpointer.",
                saved=False,
            )
        self._writing.join()
        with jax.transfer_guard("allow"):
            self._save(step)
        self._trainer.checkpointer.wait_until_finished()
        raise TrainingInterrupted(
            f"Stopped by {self._stop.signal_name} at step {step} of {self._last_step}. "
            "The run is saved: start it again with the same workdir "
            f"({self._trainer.workdir}) to continue.",
            saved=True,
        )
