"""The loop of a sweep: start what is missing, a few at a time, until all have ended.

It keeps nothing that is not on disk, but for which trials it has tried: killed at any
instant and started again, it goes on. Trials that still run then are waited for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator

from kauldron._base import errors, process_signals
from kauldron.launch import _backend_choice
from kauldron.launch._backend import Backend
from kauldron.launch.sweeps import _folder, _overview, _proposals, _sweep
from kauldron.launch.sweeps._trial_status import TrialState, TrialStatus
from kauldron.workdir import measured

# A look at a few files is cheap; to ask a cluster for its queue is not.
_REST_FOR_A_LOOK = 10.0
_MIN_REST_SECS, _MAX_REST_SECS = 0.1, 10.0
_SHOW_EVERY_SECS = 2.0

Show = Callable[[_overview.Overview], None]


class SweepInterrupted(KeyboardInterrupt):
    """A signal ended the sweep; its trials have saved.

    Attributes:
      saved: Always true: started again, the sweep continues.
    """

    saved = True


def run_sweep(
    sweep: _sweep.Sweep | _proposals.Proposer,
    backend: Backend,
    *,
    parallel: int | None = None,
    stop_on_failure: bool = False,
    metric: str | None = None,
    mode: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
    show: Show = lambda overview: None,
) -> _overview.Overview:
    """Runs the trials of a sweep that are not done; returns how all are doing then.

    Args:
      sweep: The sweep; or what proposes its trials one after the other, such as
        `kd.tracking.tune.Study`.
      backend: What runs the trials.
      parallel: Trials at a time; as the backend says unless given.
      stop_on_failure: Whether the first trial that fails stops the others.
      metric: What trials are compared by, such as `'eval.accuracy'`.
      mode: Whether its largest value is the best, `'max'`, or the smallest, `'min'`.
      tell: Gets a line for what happens.
      show: Gets an overview about every other second.

    Raises:
      LaunchError: If another sweep, or another process, is in the folder.
      ConfigError: If the config of a trial is wrong. Nothing was started.
      SweepInterrupted: If a signal (SIGINT, SIGTERM) ended it; trials have saved.
      Failure: If no further trial can be proposed; those that ran then have ended.
    """
    proposer = None if isinstance(sweep, _sweep.Sweep) else sweep
    if not isinstance(sweep, _sweep.Sweep):
        metric, mode = sweep.check()
        sweep = _proposals.to_sweep(sweep)
    folder = _folder.SweepFolder(sweep.workdir)
    _folder.plan(folder, sweep)
    backend = _backend_choice.with_parallel(backend, parallel)
    parallel = parallel or backend.parallel
    if proposer is not None:
        _proposals.check_parallel(parallel, _backend_choice.name_of(backend))
    backend.check()
    growth = None
    with folder.owned(), _catch_signals() as stop, contextlib.closing(backend):
        if proposer is not None:
            proposer.begin()
            growth = _proposals.Growth(folder, proposer)
        saved, trials = _folder.save(
            folder,
            sweep,
            metric=metric,
            mode=mode,
            backend=_backend_choice.to_json(backend),
        )
        trials = trials if growth is None else list(saved.trials)
        run = _Run(folder, saved, backend, trials, parallel, growth, tell, show)
        run.until_all_ended(stop, stop_on_failure=stop_on_failure)
        overview = run.overview()
    if growth is not None and growth.error is not None:
        raise errors.Failure(str(growth.error)) from growth.error
    if stop.name:
        raise SweepInterrupted(
            f"Stopped by {stop.name}. {overview.summary()} Start the sweep again with "
            f"the same workdir ({sweep.workdir}) to continue."
        )
    return overview


class _Stop:
    """Whether a signal has come, and which."""

    name = ""


class _Run:
    """One process's work on a sweep."""

    def __init__(
        self,
        folder: _folder.SweepFolder,
        saved: _folder.SavedSweep,
        backend: Backend,
        trials: list[_sweep.Trial],
        parallel: int | None,
        growth: _proposals.Growth | None,
        tell: Callable[[str], None],
        show: Show,
    ) -> None:
        self._folder, self._saved, self._backend = folder, saved, backend
        self._trials = {trial.name: trial for trial in trials}
        self._parallel, self._growth = parallel, growth
        self._tell, self._show = tell, show
        self._looker = _overview.Looker(folder, saved, backend)
        self._statuses = self._looker.look(saved.trials)
        # Trials that were started, by this process or another one; and those of them
        # that this backend has started, which are waited for.
        self._tried: set[str] = set()
        self._watched: set[str] = set()
        self._shown = 0.0
        self._told: set[str] = set()

    def until_all_ended(self, stop: _Stop, *, stop_on_failure: bool) -> None:
        """Starts trials and waits for them."""
        self._begin()
        is_stopping = False
        while True:
            since = time.monotonic()
            active = self._look_at_active()
            secs = _REST_FOR_A_LOOK * (time.monotonic() - since)
            has_failed = any(
                self._statuses[name].state in (TrialState.FAILED, TrialState.LOST)
                for name in self._watched
            )
            if not is_stopping and (stop.name or (stop_on_failure and has_failed)):
                is_stopping = True
                self._stop(active, stop.name or "a failed trial (`--stop_on_failure`)")
            missing = [] if is_stopping else self._missing()
            while missing and self._has_room(active):
                name = missing.pop(0)
                self._start(name)
                active.append(name)
            proposed = []
            if not is_stopping and not missing:
                proposed = self._start_proposed(active)
            if not active and not missing and not proposed:
                return
            self._show_sometimes()
            time.sleep(min(max(secs, _MIN_REST_SECS), _MAX_REST_SECS))

    def overview(self) -> _overview.Overview:
        """Returns how all trials are doing; a sweep does not end for want of a metric."""
        statuses = list(self._statuses.values())
        try:
            return self._looker.overview(
                statuses, metric=self._saved.metric, mode=self._saved.mode
            )
        except measured.MetricError as e:
            self._tell_once(str(e))
            return self._looker.overview(statuses, metric=None, mode=None)

    def _begin(self) -> None:
        num_done = 0
        for name, status in self._statuses.items():
            if name not in self._trials:
                continue
            num_done += status.state is TrialState.DONE
            if status.state.is_active:
                self._tried.add(name)
                self._tell(f"{name}: is {status.state} already")
                if self._looker.find(self._trials[name]) is not None:
                    self._watched.add(name)
        if num_done:
            self._tell(f"{num_done} of {len(self._trials)} trials are done already.")
        if self._missing() or self._growth:
            command = "tune" if self._growth else "sweep"
            self._tell(
                f"How the trials are doing: `kauldron {command} ls --workdir="
                f"{shlex.quote(os.fspath(self._folder.path))}`."
            )

    def _missing(self) -> list[str]:
        return [
            name
            for name in self._trials
            if name not in self._tried
            and self._statuses[name].state is not TrialState.DONE
        ]

    def _has_room(self, active: list[str]) -> bool:
        return self._parallel is None or len(active) < self._parallel

    def _start_proposed(self, active: list[str]) -> list[str]:
        """Starts trials that are proposed now; returns them."""
        if self._growth is None:
            return []
        # What somebody else is to start has a place, too.
        waiting = [
            name
            for name in self._tried
            if self._statuses[name].state is TrialState.WAITING
        ]
        started = []
        while self._has_room([*active, *waiting]):
            added = self._growth.add_to(self._saved)
            if added is None or added[1].name in self._trials:
                break
            self._saved, trial = added
            self._trials[trial.name] = trial
            self._statuses |= self._looker.look([trial])
            self._start(trial.name)
            started.append(trial.name)
            state = self._statuses[trial.name].state
            if state.is_active or state is TrialState.WAITING:
                waiting.append(trial.name)
        return started

    def _look_at_active(self) -> list[str]:
        """Looks at trials that were at work; returns those that still are."""
        before = [n for n in self._watched if self._statuses[n].state.is_active]
        try:
            statuses = self._looker.look(self._trials[name] for name in sorted(before))
        except errors.Failure as e:  # a cluster that does not answer may do so later
            self._tell_once(str(e))
            return before
        self._statuses |= statuses
        for status in statuses.values():
            if not status.state.is_active:
                self._tell(_describe_end(status))
        return [name for name, status in statuses.items() if status.state.is_active]

    def _start(self, name: str) -> None:
        status = self._statuses[name]
        is_new = status.step is None
        self._tell(f"{name}: {'starts' if is_new else f'continues at {status.step}'}")
        task = self._folder.task_of(self._trials[name], self._saved)
        # On several machines, a run has a process on each.
        num_processes = getattr(self._backend, "nodes", 1)
        self._backend.start(dataclasses.replace(task, num_processes=num_processes))
        self._tried.add(name)
        self._watched.add(name)
        self._statuses |= self._looker.look([self._trials[name]])
        if not self._statuses[name].state.is_active:
            self._tell(_describe_end(self._statuses[name]))

    def _stop(self, active: list[str], reason: str) -> None:
        self._tell(f"{reason}: {len(active)} trials save and end.")
        for name in active:
            if (found := self._looker.find(self._trials[name])) is not None:
                backend, handle = found
                backend.stop([handle])

    def _tell_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def _show_sometimes(self) -> None:
        now = time.monotonic()
        if now - self._shown >= _SHOW_EVERY_SECS:
            self._shown = now
            self._show(self.overview())


def _describe_end(status: TrialStatus) -> str:
    text = f"{status.name}: {status.state}"
    if status.step is not None:
        text += f" at step {status.step} of {status.last_step}"
    if status.state in (TrialState.FAILED, TrialState.LOST):
        code = "" if status.exit_code is None else f" with exit code {status.exit_code}"
        reason = f": {status.message}" if status.message else ""
        text += f"{code}{reason} (see {status.log})"
    elif status.message:
        is_early = status.step is not None and status.step != status.last_step
        text += f"{'' if is_early else ', but'}: {status.message}"
    return text


@contextlib.contextmanager
def _catch_signals() -> Iterator[_Stop]:
    """Notes the first SIGINT or SIGTERM; a second one ends the sweep at once.

    What it has started then runs on.
    """
    stop = _Stop()

    def on_signal(number: int, frame: object) -> None:
        del frame
        if stop.name:
            restore()
            os.kill(os.getpid(), number)
        stop.name = signal.Signals(number).name

    numbers = (signal.SIGINT, signal.SIGTERM)
    with process_signals.handled(numbers, on_signal) as restore:
        yield stop
