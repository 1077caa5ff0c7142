"""The training loop.

"Step i" means "i updates applied". Evaluations and checkpoints of step i see that state;
measurements of step i are of the batch that leads from i to i + 1. The order at a step:
evaluate, save, update. The final state is evaluated and saved too.

Read `train`, then `_Loop._train` and downwards: methods are in the order in which a
step calls them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from etils import epath

from kauldron import sharding
from kauldron._base import collector, console, problem_log
from kauldron.evals import base as evals_base
from kauldron.recording import progress
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries, looking
from kauldron.train import (
    _batches,
    _compilation_cache,
    _hook_events,
    _interrupts,
    _program_facts,
    _reporting,
    _run_description,
    _run_files,
    _selection,
    _updates,
    checkpoint_state,
    hooks,
    setup_utils,
)
from kauldron.workdir import launches, run_status

# Evaluator -> function that gives what it measured: `{metric: value}`.
_Results = dict[str, Callable[[], Mapping[str, Any]]]


def train(
    trainer: _run_description.RunDescription,
) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
    """Trains, or continues, until the last step; see `Trainer.train`."""
    with problem_log.collect() as problems, contextlib.ExitStack() as stack:
        enter = stack.enter_context
        with sharding.starting_together() as facts:
            enter(setup_utils.owning(trainer, has_started=lambda: problems.has_started))
            wants_cache = trainer.setup.compilation_cache
            cache = enter(_compilation_cache.use(wanted=wants_cache))
            stop = enter(_interrupts.catch(trainer.workdir))
            latest = trainer.checkpointer.latest_step
            was_interrupted = _was_interrupted(trainer.workdir, latest)
            last_step = trainer.last_step()
            trainer.check()
            if jax.process_count() > 1:
                facts |= _program_facts.collect(
                    trainer, latest=latest, last_step=last_step
                )
        batches = _batches.BatchesAhead(iter(trainer.train_ds), trainer.sharding.batch)
        try:
            run = checkpoint_state.restore_or_init(trainer, batches, latest)
            if latest is not None:
                latest = int(run.train_state.step)  # older, if the newest is damaged
            if latest is not None and latest >= last_step and not was_interrupted:
                _tell_that_it_is_finished(trainer, latest, last_step, problems)
                return run.train_state, None
            if latest is None:
                trainer.exporter.export(
                    model=trainer.model,
                    state=run.train_state,
                    element_spec=trainer.train_ds.element_spec,
                    is_training=False,
                )
            loop = _Loop(trainer, run, stop, cache, latest, last_step, problems)
            step = int(run.train_state.step)
            problems.start()
            with run_status.report(
                trainer.workdir, step=step, last_step=last_step, is_new=latest is None
            ) as report:
                return loop.run(report)
        finally:
            batches.close()
            trainer.checkpointer.close()


def _was_interrupted(workdir: epath.Path, step: int | None) -> bool:
    """Whether a signal ended the run at a step, before what is due there was measured."""
    try:
        status = run_status.read(workdir)
    except ValueError:  # damaged
        return False
    return status is not None and (status.state, status.step) == ("interrupted", step)


def _tell_that_it_is_finished(
    trainer: _run_description.RunDescription,
    step: int,
    last_step: int,
    problems: problem_log.Problems,
) -> None:
    with run_status.report(
        trainer.workdir, step=step, last_step=step, is_new=False
    ) as report:
        for problem in report.problems:
            problems.state(problem, "(when it was trained)")
        console.log(
            progress.finished_message(
                trainer.workdir,
                step,
                last_step,
                limit=_limit_of(trainer, last_step),
                problems=report.problems,
            )
        )


def _forbidding_transfers() -> contextlib.AbstractContextManager[object]:
    """Nothing is copied unasked, unless steps run line by line: they copy all numbers."""
    return jax.transfer_guard("allow" if looking.is_line_by_line() else "disallow")


def _limit_of(trainer: _run_description.RunDescription, last_step: int) -> str:
    """Returns what says which step is the last one."""
    if trainer.stop_after_steps == last_step != trainer.num_train_steps:
        return "`--cfg.stop_after_steps`"
    if trainer.num_train_steps is None:
        return "`num_epochs` of `--cfg.train_ds`"
    return "`--cfg.num_train_steps`"


class _Loop:
    """One process's pass over the steps of a run."""

    def __init__(
        self,
        trainer: _run_description.RunDescription,
        run: checkpoint_state.CheckpointState,
        stop: _interrupts.StopRequest,
        cache: _compilation_cache.Cache,
        restored_step: int | None,
        last_step: int,
        problems: problem_log.Problems,
    ) -> None:
        self._trainer = trainer
        self._problems = problems
        self._run = run
        self._chrono = run.chrono
        self._batches = run.ds_iter
        self._stop = stop
        self._restored_step = restored_step
        self._first_step = self._step = int(run.train_state.step)
        self._last_step = last_step
        self._reporting = _reporting.Reporting(
            trainer,
            chrono=run.chrono,
            first_step=self._first_step,
            last_step=last_step,
            problems=problems,
        )
        self._updates = _updates.Updates(trainer, run.train_state, self._chrono, cache)
        self._hooks = _hook_events.HookEvents(trainer.hooks)
        self._control = hooks.RunControl(
            trainer, first_step=self._first_step, last_step=last_step
        )
        # No per-step calls for what is switched off.
        self._has_step_hooks = bool(
            self._hooks.listeners("before_step") or self._hooks.listeners("after_step")
        )
        self._profiles = trainer.profiler.traces
        self._aux: auxiliaries.AuxiliariesState | None = None

    def run(
        self, report: run_status.Report
    ) -> tuple[TrainState, auxiliaries.AuxiliariesState | None]:
        """Runs all steps; returns the final state and the last measurements.

        Args:
          report: Receives the number of updates applied.
        """
        try:
            self._emit("on_start")
            if self._control.stop_reason is None:
                self._train(report)
                self._reporting.raise_loss_error()
                self._reporting.judge(self._state.params)
            self._emit("on_end", step=self._step, state=self._state)
            report.problems = self._problems.lines()
            report.message = self._control.stop_reason or ""
            console.log(
                progress.finished_message(
                    self._trainer.workdir,
                    self._step,
                    self._last_step,
                    limit=_limit_of(self._trainer, self._last_step),
                    stop_reason=self._control.stop_reason,
                    problems=report.problems,
                )
            )
        except BaseException as e:
            report.problems = self._problems.lines()
            self._hooks.emit_error(self._control, step=self._step, error=e)
            raise
        return self._state, self._aux

    def _train(self, report: run_status.Report) -> None:
        trainer = self._trainer
        if self._restored_step is not None:
            console.log(f"Continuing {trainer.workdir} at step {self._step}.")
        self._batches.follow(lambda: self._state)
        self._batches.load_next()  # before anything is evaluated or saved
        if console.is_lead_host():
            _run_files.write(trainer)
        self._chrono.start_loop()
        try:
            # Entering the guard costs more than everything else done in a step.
            with self._reporting, _forbidding_transfers():
                if console.is_lead_host():
                    # In the background: asking git and all packages takes a while.
                    self._reporting.run_beside(self._record_launch)
                self._reporting.prepare()  # while the first step compiles
                self._stop_if_asked()  # since the start
                while not self._evaluate_and_save():
                    self._update()
                    report.step = self._step
                    self._reporting.raise_loss_error()
                    self._stop_if_asked()
                trainer.checkpointer.wait_until_finished()
        finally:
            trainer.profiler.close()

    def _evaluate_and_save(self) -> bool:
        """Does what is due before the next update; returns whether the run is over."""
        is_last = self._is_last()
        due = self._due(is_last=is_last)
        saves = self._trainer.checkpointer.should_save(self._step)
        wanted = self._control.wants_save or self._control.changes
        if not (due or saves or is_last or wanted):
            return False
        self._log(self._updates.settle())
        with sharding.allowing_transfers():
            results = self._evaluate(due, is_last=is_last)
            if self._is_last() and not is_last:  # a hook has stopped the run
                is_last = True
                more = [e for e in self._due(is_last=True) if e not in due]
                results |= self._evaluate(more, is_last=True)
            if self._step == self._first_step == self._restored_step:
                self._add_metrics(results)
            elif saves or is_last or self._control.wants_save:
                self._save(results)
            self._control.wants_save = False
        return is_last

    def _due(self, *, is_last: bool) -> list[evals_base.EvaluatorBase]:
        return [
            evaluator
            for evaluator in self._trainer.evals.values()
            if evaluator.run.should_eval_in_train(self._step, is_last=is_last)
        ]

    def _evaluate(
        self, due: list[evals_base.EvaluatorBase], *, is_last: bool
    ) -> _Results:
        results: _Results = {}
        for e in due:
            with self._chrono.pause("evals_along_train"):
                aux = e.maybe_eval(step=self._step, state=self._state, is_last=is_last)
            results[e.name] = self._reporting.log_evaluation(e.name, self._step, aux)
            if self._hooks.listeners("on_eval"):
                values = results[e.name]()
                self._emit("on_eval", step=self._step, name=e.name, values=values)
        while self._control.changes:
            self._updates.state = self._control.changes.pop(0)(self._state)
        return results

    def _add_metrics(self, results: _Results) -> None:
        """Stores the measurements of a step that was saved early by a signal."""
        metrics = {name: values() for name, values in results.items()}
        _selection.check_measured(self._trainer.checkpointer, metrics)
        self._trainer.checkpointer.add_metrics(self._step, metrics)

    def _save(self, results: _Results | None = None) -> None:
        if not self._trainer.checkpointer.saves:
            return
        with self._chrono.pause("metrics_writing"):
            metrics = results and {name: values() for name, values in results.items()}
            # What was measured before a checkpoint is on disk before it: a restart goes
            # on from there.
            self._reporting.wait()
        _selection.check_measured(self._trainer.checkpointer, metrics or {})
        with self._chrono.pause("checkpoint"):
            self._trainer.checkpointer.save(
                dataclasses.replace(self._run, train_state=self._state),
                step=self._step,
                force=True,
                metrics=metrics,
            )
        self._emit("on_checkpoint", step=self._step)

    def _update(self) -> None:
        """Applies one update; hands what was measured to the writing thread."""
        step, num_done = self._step, self._step - self._first_step
        since = self._chrono.now()
        batch = self._batches.next(is_last=step + 1 == self._last_step)
        self._chrono.add_data_wait(since)
        if self._profiles:
            self._trainer.profiler(num_done, wait_for=self._state)
        if self._has_step_hooks:
            self._emit("before_step", step=step, state=self._state, batch=batch)
        self._log(self._updates.apply(step, batch))
        self._step = self._reporting.progress.step = step + 1
        if num_done == 0:
            collector.resume()
            if self._restored_step is None:
                self._reporting.describe(self._state)  # during the next steps
        if self._has_step_hooks:
            aux = self._updates.latest_aux
            self._emit("after_step", step=step, state=self._state, aux=aux)

    def _log(self, measured: list[_updates.Measurements]) -> None:
        for measurements in measured:
            step, self._aux = measurements.step, measurements.aux
            self._reporting.log(
                step,
                measurements.aux,
                log_summaries=measurements.has_summaries,
                then=functools.partial(self._emit_log, step),
            )

    def _stop_if_asked(self) -> None:
        """Saves what can be saved, and ends the run, if a signal has asked for it."""
        if not (self._stop.is_due() and self._has_more_to_do()):
            return
        workdir, saved = self._trainer.workdir, self._trainer.checkpointer.saves
        if saved and self._step != self._restored_step:
            self._log(self._updates.settle())
            with sharding.allowing_transfers():
                self._save()
            self._trainer.checkpointer.wait_until_finished()
        raise self._stop.interruption(workdir, self._step, self._last_step, saved=saved)

    def _record_launch(self) -> None:
        trainer = self._trainer
        launches.write(
            trainer.workdir,
            seed=trainer.seed,
            first_step=self._first_step,
            backend=sharding.describe_backend(),
        )

    def _emit(self, event: str, **values: Any) -> None:
        self._hooks.emit(event, self._control, **values)

    def _emit_log(self, step: int, values: auxiliaries.AuxiliariesOutput) -> None:
        self._hooks.emit_log(self._control, self._problems, step=step, values=values)

    def _is_last(self) -> bool:
        return self._step >= self._last_step or self._control.stop_reason is not None

    def _has_more_to_do(self) -> bool:
        """Whether a run that is asked to stop would go on for long.

        The last evaluations come before the last save, and may take longer than whoever
        stops a run waits: they are left to the next start, if it finds what is saved.
        """
        if not self._is_last():
            return True
        if self._control.stop_reason is not None:
            return False  # the next start would not know that a hook has stopped it
        return self._trainer.checkpointer.saves and bool(self._due(is_last=True))

    @property
    def _state(self) -> TrainState:
        return self._updates.state
