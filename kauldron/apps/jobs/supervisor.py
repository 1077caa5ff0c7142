"""`Supervisor`: takes jobs, lets them run in turn, ends them, knows them after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Mapping
from typing import Any

from kauldron._base import extras
from kauldron.apps.bundles import results
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.jobs import _devices, _logs, _processes, _retention, _runner, _table
from kauldron.apps.jobs._folders import JobFolder, StateDir
from kauldron.apps.jobs._served import ServedApp
from kauldron.apps.jobs._table import Job, QueueFullError, State
from kauldron.apps.jobs.limits import Limits

_log = logging.getLogger(__name__)
_RETRY_SECS = 1.0


class Supervisor:
    """Takes jobs, lets them run in turn, ends them, knows them after a restart.

    All of it happens in one event loop, and a row of the table changes in one step, so
    that the last state of a job is set once.

    Args:
      apps: The apps, by name.
      state: Where jobs are kept; it must be owned.
      limits: How much is taken, kept and done at once.
      find_devices: Returns the accelerators.
      command: Returns the command line of `kauldron` with some arguments.

    Attributes:
      table: The jobs.
      runner: Does them.
      retention: Forgets them.
    """

    def __init__(
        self,
        apps: Mapping[str, ServedApp],
        state: StateDir,
        limits: Limits,
        find_devices: _runner.FindDevices = _devices.find,
        command: _runner.MakeCommand = _processes.kauldron_command,
    ) -> None:
        self.apps = apps
        self.state = state
        self.limits = limits
        self.table = _table.JobTable(state.table)
        self.runner = _runner.Runner(apps, state, limits, find_devices, command)
        self.retention = _retention.Retention(self.table, state, limits.keep_secs)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}  # of the jobs that wait or run
        self._num_uploads = 0
        self._is_draining = False
        self._is_closing = False

    async def open(self, warm: Iterable[str] = ()) -> None:
        """Takes up what a server before has left, and begins to work.

        Args:
          warm: Names of apps that stay loaded.
        """
        for folder in self.state.workers():
            await asyncio.to_thread(_processes.end_orphan, folder)
        for job in self.table.in_states([State.RUNNING]):
            await asyncio.to_thread(self._take_up, job)
        self.state.sweep(self.table)
        for job in self.table.in_states([State.QUEUED]):
            self._ends[job.id] = asyncio.Event()
        self._spawn(self._begin(warm))
        self._spawn(self.retention.run())

    async def close(self) -> None:
        """Ends the jobs that run, which can be run again; those that wait, wait on."""
        self._is_closing = True
        tasks = (*self._tasks, *self._runs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.runner.close()
        self.table.close()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Keeps a place in the queue while the files of a job are read.

        Raises:
          QueueFullError: If there is none.
        """
        self._check_room()
        self._num_uploads += 1
        try:
            yield
        finally:
            self._num_uploads -= 1

    def submit(self, upload: JobFolder, app: str, call: Call, device: str) -> Job:
        """Makes a job of what was uploaded; it waits for its turn.

        Args:
          upload: The folder with its files; it becomes the folder of the job.
          app: Name of the app.
          call: Paths in it are relative to the folder.
          device: `auto`, `cpu`, or numbers.

        Raises:
          QueueFullError: If too many jobs wait.
        """
        job_id, folder = self.state.keep(upload)
        entry = call.to_json()
        job = Job(id=job_id, app=app, verb=call.verb, call=entry, device=device)
        try:
            job = self.table.add(job, max_active=self.limits.max_jobs)
        except BaseException:
            folder.remove()
            raise
        self._ends[job.id] = asyncio.Event()
        self._start_jobs()
        return job

    def run_again(self, job_id: str) -> bool:
        """Lets a job wait again that was interrupted; whether it was.

        Raises:
          QueueFullError: If too many jobs wait.
        """
        self._check_room()
        if not self.table.run_again(job_id):
            return False
        self._ends[job_id] = asyncio.Event()
        self._start_jobs()
        return True

    async def cancel(self, job_id: str) -> bool:
        """Cancels a job that waits, runs or was interrupted; whether it did."""
        if not self.table.finish(job_id, State.CANCELLED):
            return False
        run = self._runs.get(job_id)
        if run is None:
            self._tell_end(job_id)
        else:
            run.cancel()
            await asyncio.wait([run])
        return True

    async def wait(self, job_id: str) -> None:
        """Returns when a job neither waits nor runs."""
        if event := self._ends.get(job_id):
            await event.wait()

    def follow(
        self, job_id: str, after: int
    ) -> AsyncGenerator[list[tuple[int, str]], None]:
        """Yields lines of what a job prints, each with the byte behind it."""
        log = self.state.job(job_id).log
        return _logs.follow(log, after, lambda: self.may_print(job_id))

    def may_print(self, job_id: str) -> bool:
        """Whether those who follow a job have to wait for more."""
        return job_id in self._ends and not self._is_draining

    def drain(self) -> None:
        """Lets those who follow jobs go: the server is about to end."""
        self._is_draining = True

    def _check_room(self) -> None:
        if self._num_uploads + len(self._ends) >= self.limits.max_jobs:
            raise QueueFullError

    def _take_up(self, job: Job) -> None:
        """Ends what a killed server has left running; a result that is there stays."""
        folder = self.state.job(job.id)
        _processes.end_orphan(folder)
        try:
            results.read_result(folder.out)
        except (AppError, OSError):
            self.table.interrupt(job.id)
        else:
            self.table.finish(job.id, State.DONE)

    async def _begin(self, warm: Iterable[str]) -> None:
        await self.runner.open(warm)
        self._start_jobs()

    def _start_jobs(self) -> None:
        """Starts the jobs that can have their devices, in the order they came."""
        if self._is_closing:
            return
        blocked = set()  # nobody overtakes a job that waits for the same kind
        for job in self.table.in_states([State.QUEUED]):
            kind = self.runner.kind(job)
            if kind in blocked or job.id not in self._ends:
                continue
            taken = self.runner.take(job)
            if taken is None:
                blocked.add(kind)
            elif self.table.start(job.id, taken):
                self._runs[job.id] = asyncio.create_task(self._run(job, taken))
            else:
                self.runner.give_back(taken)

    async def _run(self, job: Job, taken: str) -> None:
        """Runs a job, and sets its last state unless that is set already."""
        state, error = State.DONE, ""
        try:
            await self.runner.do(job, taken)
        except _runner.JobFailed as failure:
            state, error = State.FAILED, str(failure)
        except asyncio.CancelledError:
            state = State.INTERRUPTED
        except Exception:
            _log.exception("job %s failed", job.id)
            state, error = State.FAILED, "The server failed; its log says why."
        if state is not State.DONE:
            # A part of a result is of no use, and fills a disk that may be full.
            folder = self.state.job(job.id)
            await asyncio.shield(asyncio.to_thread(folder.remove_results))
        await self._keep_state(job.id, state, error)
        del self._runs[job.id]
        self.runner.give_back(taken)
        self._tell_end(job.id)
        self._start_jobs()

    async def _keep_state(self, job_id: str, state: State, error: str) -> None:
        """Writes a last state, also when the disk is full: once there is room."""
        exc = extras.load("sqlalchemy.exc", needed_by="A server of apps", extra="apps")
        is_told = False
        while True:
            try:
                if state is State.INTERRUPTED:
                    self.table.interrupt(job_id)
                else:
                    self.table.finish(job_id, state, error)
                return
            except exc.OperationalError as problem:
                if not is_told:
                    _log.error(
                        "The state of job %s waits for a disk: %s", job_id, problem
                    )
                is_told = True
                if self._is_closing:  # the next server finds it running
                    return
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(_RETRY_SECS)

    def _tell_end(self, job_id: str) -> None:
        if event := self._ends.pop(job_id, None):
            event.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_tell_failure)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.error("A task of the server ended", exc_info=error)
