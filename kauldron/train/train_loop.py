"""The training loop.

"Step i" means "i updates applied". Evaluations and checkpoints of step i see that state;
measurements of step i are of the batch that leads from i to i + 1. The order at a step:
evaluate, save, update. The final state is evaluated and saved too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax

from kauldron import checkpoints
from kauldron.train import (
    _batches,
    _interrupts,
    _progress,
    _run_description,
    _run_files,
    _write_queue,
    auxiliaries,
    setup_utils,
)
from kauldron.train.state import TrainState
from kauldron.utils import chrono as chrono_lib
from kauldron.utils import status_utils


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
        if latest is None:
            trainer.check()
        batches = _batches.BatchesAhead(iter(trainer.train_ds), trainer.sharding.batch)
        try:
            run = _restore_or_init(trainer, batches, latest)
            if latest is not None and latest >= last_step:
                status_utils.log(_progress.finished_message(trainer.workdir, latest))
                return run.train_state, None
            if latest is not None:
                status_utils.log(f"Continuing {trainer.workdir} at step {latest}.")
            return _Loop(trainer, run, stop, last_step).run()
        finally:
            batches.close()
            trainer.checkpointer.close()


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
        last_step: int,
    ) -> None:
        self._trainer = trainer
        self._state = run.train_state
        self._chrono = run.chrono
        self._batches = run.ds_iter
        self._stop = stop
        self._first_step = int(run.train_state.step)
        self._last_step = last_step
        self._progress = _progress.Progress(self._first_step, last_step)
        self._writing = _write_queue.WriteQueue()
        self._aux: auxiliaries.AuxiliariesState | None = None
        self._compiled: set[tuple[bool, bool]] = set()

    def run(self) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
        """Runs all steps; returns the final state and the last measurements."""
        trainer = self._trainer
        writers = [trainer.writer, *(e.writer for e in trainer.evals.values())]
        _run_files.write(trainer)
        for writer in writers:
            writer.rewind(self._first_step)
        try:
            self._chrono.start_loop()
            for step in range(self._first_step, self._last_step):
                self._evaluate_and_save(step)
                self._update(step)
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

    def _update(self, step: int) -> None:
        """Applies one update; hands its measurements to the writing thread."""
        trainer = self._trainer
        log_metrics = step % trainer.log_metrics_every == 0
        log_summaries = step % trainer.log_summaries_every == 0
        with jax.transfer_guard("disallow"):
            batch = self._batches.next(is_last=step + 1 == self._last_step)
            update = functools.partial(
                trainer.trainstep.step,
                self._state,
                batch,
                return_losses=log_metrics or log_summaries,
                return_metrics=log_metrics,
                return_summaries=log_summaries,
                checkify_error_categories=trainer.checkify_error_categories,
            )
            if (log_metrics, log_summaries) in self._compiled:
                self._state, aux = update()
            else:  # the first call compiles, which is no part of the rate
                self._compiled.add((log_metrics, log_summaries))
                with self._chrono.pause("compile"):
                    self._state, aux = update()
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
        results = {}
        due = [
            (name, evaluator)
            for name, evaluator in trainer.evals.items()
            if evaluator.run.should_eval_in_train(step, is_last=is_last)
        ]
        if due:
            self._writing.join()  # so that lines are written in the order of the steps
        for name, evaluator in due:
            with self._chrono.pause("evals_along_train"):
                aux = evaluator.maybe_eval(
                    step=step, state=self._state, is_last=is_last
                )
                results[name] = self._progress.show_evaluation(name, step, aux)
        is_first = step == self._first_step
        wanted = trainer.checkpointer.should_save(step)
        if wanted or (is_last and not self._saves_nothing):
            already_saved = is_first and step == trainer.checkpointer.latest_step
            if not already_saved:
                self._save(step, metrics=results)

    @property
    def _saves_nothing(self) -> bool:
        return isinstance(self._trainer.checkpointer, checkpoints.NoopCheckpointer)

    def _save(self, step: int, *, metrics: Mapping[str, Any] | None = None) -> None:
        # What the checkpoint's steps have measured must be on disk before it: a restart
        # continues after them.
        self._writing.join()
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
        if step != self._trainer.checkpointer.latest_step:
            self._save(step)
        self._trainer.checkpointer.wait_until_finished()
        raise TrainingInterrupted(
            f"Stopped by {self._stop.signal_name} at step {step} of {self._last_step}. "
            "The run is saved: start it again with the same workdir "
            f"({self._trainer.workdir}) to continue.",
            saved=True,
        )
