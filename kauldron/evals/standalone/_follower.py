"""Standalone evaluation: follows a run's checkpoints from a separate process.

Each evaluator goes through the checkpoints in ascending order and records each step once
its results are written; after a restart it continues after the last one. Training has
ended when the run's status, `run_status`, says so and the last step of the evaluator's
own config is reached: a run that is still to be extended is waited for.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kauldron import checkpoints
from kauldron._base import cell_errors, console, errors, process_signals
from kauldron.evals import base, run_strategies
from kauldron.evals.standalone import (
    _evaluations,
    _evaluator_names,
    _progress_file,
    _sources,
)
from kauldron.step import auxiliaries
from kauldron.workdir import run_status

_DEFAULT_POLL_SECS = 1.0
_MAX_SHOWN = 8


class EvaluationInterrupted(cell_errors.Interruption):
    """A signal ended a standalone evaluation; starting it again continues it."""

    saved = True


class NoTrainingError(TimeoutError):
    """The training that is waited for does not go on."""


class StandaloneError(errors.UserError, RuntimeError):
    """A standalone evaluation that cannot run like this."""


def continuous_eval(
    trainer: base.Run,
    eval_names: Iterable[str] | str,
    *,
    timeout_secs: float | None = None,
) -> dict[str, auxiliaries.AuxiliariesState]:
    """Evaluates checkpoints as they appear, until the training has ended.

    Evaluators with `StandaloneEveryCheckpoint` see every checkpoint, those with
    `StandaloneLastCheckpoint` the final one. A checkpoint that the training removed before
    its turn is reported and left out, as is one that is damaged: the newest one before it
    is the final one, then.

    With `setup.eval_only`, the checkpoints are those of the run that `init_transform`
    loads from. Evaluators with other strategies, and the last-checkpoint ones when none
    wants every checkpoint, run once then, without waiting.

    Args:
      trainer: The trainer, with the same config as the training.
      eval_names: Names of evaluators, a list or `'a,b'`.
      timeout_secs: Gives up after this long without any training; `None` waits forever.

    Returns:
      Name -> the last result of each evaluator that had something to do.

    Raises:
      UserError: If a name is wrong, or another process runs the evaluator.
      ExceptionGroup: If evaluators failed; the others have been through to the end.
      NoTrainingError: If nothing was training for `timeout_secs`.
      EvaluationInterrupted: If a signal ended it.
    """
    selected = _evaluator_names.select(trainer.evals, eval_names)
    _evaluator_names.check_names(trainer, selected)
    _evaluator_names.check_one_process()
    source = _make_source(trainer, selected)
    trainer.setup.run(trainer)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stoppable())
        evaluations = _evaluations.Evaluations(selected)
        stack.callback(evaluations.close)
        records = {
            name: stack.enter_context(_progress_file.opened(trainer.workdir, name))
            for name in selected
        }
        if source is None:
            _run_once(trainer, evaluations, records)
        else:
            _Following(source, evaluations, selected, records, timeout_secs).run()
    evaluations.raise_errors()
    return evaluations.results


def _is_every(evaluator: base.EvaluatorBase) -> bool:
    return isinstance(evaluator.run, run_strategies.StandaloneEveryCheckpoint)


def _make_source(
    trainer: base.Run, selected: Mapping[str, base.EvaluatorBase]
) -> _sources.Source | None:
    """Returns where checkpoints come from; `None` if nothing is to be followed."""
    if trainer.setup.eval_only:
        follows = any(_is_every(e) for e in selected.values())
        return _sources.OtherRun(trainer) if follows else None
    kind = _sources.KeptRun if trainer.setup.preemptable_eval else _sources.OwnRun
    return kind(trainer, selected)


def _run_once(
    trainer: base.Run,
    evaluations: _evaluations.Evaluations,
    records: Mapping[str, _progress_file.Record],
) -> None:
    """Evaluates the state that an evaluation-only trainer begins with."""
    state = _sources.initial_state(trainer)
    step = int(state.step)
    for name, record in records.items():
        if record.last_step > step and step in record.evaluated:
            raise StandaloneError(
                f"{trainer.workdir} has results of [{name}] for step {step} and for later "
                "steps already. Choose another `--cfg.workdir=...`."
            )
    for name, record in records.items():
        if record.last_step <= step:  # an evaluation that is repeated, or was killed
            trainer.evals[name].writer.rewind(step)
        if evaluations.run(name, state, step) and step not in record.evaluated:
            record.evaluated.append(step)
            record.save()


class _Following:
    """One process's pass over the checkpoints of a run."""

    def __init__(
        self,
        source: _sources.Source,
        evaluations: _evaluations.Evaluations,
        selected: Mapping[str, base.EvaluatorBase],
        records: Mapping[str, _progress_file.Record],
        timeout_secs: float | None,
    ) -> None:
        self._source = source
        self._evaluations = evaluations
        self._selected = selected
        self._records = records
        self._timeout_secs = timeout_secs
        self._every = [name for name, e in selected.items() if _is_every(e)]
        self._at_end = [name for name in selected if name not in self._every]
        self._poll_secs = min(
            (
                e.run.seconds_to_sleep
                for e in selected.values()
                if isinstance(e.run, run_strategies.StandaloneEveryCheckpoint)
            ),
            default=_DEFAULT_POLL_SECS,
        )
        self._rewound: set[str] = set()
        self._told = ""
        self._last_life = time.monotonic()

    def run(self) -> None:
        """Evaluates until the training has ended, or every evaluator has failed."""
        while self._evaluations.working(self._selected):
            # In this order: what is there when the training has ended is all there is.
            status = self._source.status()
            self._follow(status)
            steps = self._source.steps()
            step = self._next_step(steps)
            if step is not None:
                self._evaluate(step, self._every, status)
                self._last_life = time.monotonic()
            elif steps and self._source.has_ended(status):
                self._finish(status, steps)
                return
            else:
                self._wait(status, steps)

    def _follow(self, status: run_status.RunStatus | None) -> None:
        """Forgets what was recorded of another run in the same workdir."""
        if status is None:
            return
        for name, record in self._records.items():
            if record.run_id not in ("", status.run_id):
                console.log(
                    f"[{name}] The training began anew: its results are taken back."
                )
                self._selected[name].writer.rewind(0)
                self._source.release(sys.maxsize)
            if record.run_id != status.run_id:
                record.reset(status.run_id)

    def _next_step(self, steps: list[int]) -> int | None:
        """Returns the lowest step that some evaluator has not seen."""
        pending = [
            step
            for name in self._evaluations.working(self._every)
            for step in steps
            if step > self._records[name].last_step
        ]
        return min(pending, default=None)

    def _evaluate(
        self, step: int, names: list[str], status: run_status.RunStatus | None
    ) -> bool:
        """Evaluates a step with those evaluators that have not seen it.

        Returns:
          Whether the step could be read.
        """
        due = [
            name
            for name in self._evaluations.working(names)
            if self._records[name].last_step < step
        ]
        if not due:
            return True
        if names is self._every:
            self._report_missing(step, due, status)
        try:
            state = self._source.restore(step)
        except checkpoints.CheckpointGoneError:
            self._skip(due, [step])
            return False
        except checkpoints.DamagedCheckpointError as e:
            console.warn(f"[{', '.join(due)}] skipped. {e}")
            if names is self._every:
                self._record_skipped(due, [step])
            self._source.release(step)
            return False
        for name in due:
            if name not in self._rewound:  # what a killed evaluation had written
                self._selected[name].writer.rewind(step)
                self._rewound.add(name)
            if self._evaluations.run(name, state, step):
                self._records[name].evaluated.append(step)
                self._records[name].save()
        if len(self._evaluations.working(due)) == len(due):
            self._source.release(step)
        return True

    def _report_missing(
        self, step: int, due: list[str], status: run_status.RunStatus | None
    ) -> None:
        first_step = 0 if status is None else status.first_step
        for name in due:
            first = max(self._records[name].last_step + 1, first_step)
            missing = list(self._source.should_exist(first, step))
            if missing:
                self._skip([name], missing)

    def _skip(self, names: list[str], steps: list[int]) -> None:
        shown = ", ".join(map(str, steps[:_MAX_SHOWN]))
        if len(steps) > _MAX_SHOWN:
            shown += f", … {steps[-1]} ({len(steps)} in all)"
        for name in names:
            console.warn(
                f"[{name}] skipped, as their checkpoints are not there any more: steps "
                f"{shown}. A larger `cfg.checkpointer.max_to_keep` keeps them longer."
            )
        self._record_skipped(names, steps)

    def _record_skipped(self, names: list[str], steps: list[int]) -> None:
        for name in names:
            self._records[name].skipped += steps
            self._records[name].save()

    def _finish(self, status: run_status.RunStatus | None, steps: list[int]) -> None:
        final = steps[-1] if status is None else status.step
        if final not in steps:
            behind = [n for n in self._every if self._records[n].last_step < final]
            self._skip(behind, [final])
            if self._at_end:
                console.warn(
                    f"[{', '.join(self._at_end)}] the checkpoint of the final step {final} "
                    f"is not there any more: step {steps[-1]} is evaluated instead."
                )
            final = steps[-1]
        for step in reversed([s for s in steps if s <= final]):
            if self._evaluate(step, self._at_end, status):
                break
        self._source.release(final)
        console.log("Every checkpoint is evaluated, and the training has ended.")

    def _wait(self, status: run_status.RunStatus | None, steps: list[int]) -> None:
        """Says what is waited for, once, and sleeps."""
        where = f"The training in {self._source.workdir}"
        if status is None:
            kind, text = "none", f"{where} has not begun: waiting for it."
        elif status.is_alive:
            kind, text = "alive", f"{where} {status.describe()}."
            text += " Waiting for checkpoints."
            self._last_life = time.monotonic()
        elif status.state == "done" and not steps:
            kind, text = "empty", f"{where} {status.describe()}, but left no checkpoint"
            text += ": waiting for another."
        elif status.state == "done":
            kind = "extend"
            text = f"{where} {status.describe()}, and this config goes on to step "
            text += f"{self._source.last_step}: waiting for it to be continued."
        else:
            kind = f"{status.state} at {status.step}"
            text = f"{where} {status.describe()}: waiting for it to be started again."
        if kind != self._told:
            console.log(text)
            self._told = kind
        waited = time.monotonic() - self._last_life
        if self._timeout_secs is not None and waited > self._timeout_secs:
            raise NoTrainingError(f"Gave up after {self._timeout_secs:g} s. {text}")
        time.sleep(self._poll_secs)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Makes SIGTERM end the block as Ctrl-C does, and says that it can be continued."""

    def stop(signum: int, frame: Any) -> None:
        del frame
        raise KeyboardInterrupt(signal.Signals(signum).name)

    try:
        with process_signals.handled([signal.SIGTERM], stop):
            yield
    except KeyboardInterrupt as e:
        raise EvaluationInterrupted(
            f"Stopped by {e or 'SIGINT'}. Start it again to continue: what is evaluated is "
            "recorded."
        ) from e
