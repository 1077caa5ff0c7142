"""`Runner`: does one job, in a process of its own or in the worker of a warm app."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from kauldron.apps.bundles import results
from kauldron.apps.bundles.calls import Call
from kauldron.apps.jobs import _devices, _processes, _workers
from kauldron.apps.jobs._folders import JobFolder, StateDir
from kauldron.apps.jobs._served import ServedApp
from kauldron.apps.jobs._table import Job
from kauldron.apps.jobs.limits import Limits

_log = logging.getLogger(__name__)
_WATCH_SECS = 0.5
# Stands for the devices of a job that a warm app does: it has its own.
_WARM = "warm"

FindDevices = Callable[[], Coroutine[Any, Any, list[_devices.Device]]]

MakeCommand = Callable[[Sequence[str]], list[str]]


class JobFailed(Exception):
    """A job did not end well; the message is for its client."""


class Runner:
    """Gives devices to jobs, and does them.

    Args:
      apps: The apps, by name.
      state: Where jobs are kept.
      limits: How long a job may run, and how much it may print.
      find_devices: Returns the accelerators.
      command: Returns the command line of `kauldron` with some arguments.

    Attributes:
      devices: Which are free; `None` until they are found.
    """

    def __init__(
        self,
        apps: Mapping[str, ServedApp],
        state: StateDir,
        limits: Limits,
        find_devices: FindDevices,
        command: MakeCommand,
    ) -> None:
        self.devices: _devices.Devices | None = None
        self._apps = apps
        self._state = state
        self._limits = limits
        self._find_devices = find_devices
        self._command = command
        self._workers: dict[str, _workers.WarmWorker] = {}

    async def found_devices(self) -> _devices.Devices:
        """Returns the devices, once they are found."""
        while self.devices is None:
            await asyncio.sleep(0.05)
        return self.devices

    async def open(self, warm: Iterable[str]) -> None:
        """Finds the devices, and starts workers of apps that stay loaded."""
        devices = _devices.Devices(
            await self._find_devices(), self._limits.max_cpu_jobs
        )
        for name in warm:
            try:
                taken = devices.keep_one()
            except _devices.NoDeviceError as error:
                _log.error("The app %s does not stay loaded: %s", name, error)
                continue
            env = _processes.environment(devices.environment(taken))
            path = str(self._apps[name].path)
            self._workers[name] = _workers.WarmWorker(
                self._command(["apps", "worker", path]),
                env,
                self._state.worker(name),
            )
            await self._workers[name].start()
        self.devices = devices

    async def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers.values():
            await worker.stop()

    def check_device(self, asked: str, app: str, verb: str) -> None:
        """Finds out whether a job can ever have what it asks for: see `Devices.check`."""
        if self.is_warm(app, verb, asked):
            return
        if self.devices is not None:
            self.devices.check(asked)
        elif asked not in ("auto", "cpu"):
            _devices.Devices([], 1).check(asked)

    def is_warm(self, app: str, verb: str, device: str) -> bool:
        """Whether a worker does such a job."""
        return device == "auto" and verb == "infer" and app in self._workers

    def kind(self, job: Job) -> str:
        """Returns what a job waits for; those of one kind keep their order."""
        if self.is_warm(job.app, job.verb, job.device):
            return _WARM
        has_devices = self.devices is not None and self.devices.found
        return "device" if has_devices and job.device != "cpu" else "cpu"

    def take(self, job: Job) -> str | None:
        """Returns the devices that a job gets, or `None` while it has to wait."""
        if self.devices is None:
            return None
        if self.is_warm(job.app, job.verb, job.device):
            return _WARM
        return self.devices.take(job.device)

    def give_back(self, taken: str) -> None:
        """Frees what `take` returned."""
        if self.devices is not None and taken != _WARM:
            self.devices.give_back(taken)

    async def do(self, job: Job, taken: str) -> None:
        """Does a job with the devices that it was given.

        Raises:
          JobFailed: If it was not done.
        """
        app, folder = self._apps.get(job.app), self._state.job(job.id)
        if app is None:
            raise JobFailed(f"The app {job.app!r} is not served any more.")
        await asyncio.to_thread(folder.remove_results)
        call = Call.from_json(job.call)
        if taken == _WARM:
            try:
                worker = self._workers[job.app]
                await worker.ask(call.inside(folder.path).to_json(), folder.out)
            except _workers.WorkerError as error:
                raise JobFailed(str(error)) from None
        else:
            await self._do_in_process(app, call, folder, taken)
        if not (folder.out / results.FILE).is_file():
            raise JobFailed("The job has ended without a result.")

    async def answer(self, app: str, call: Call, folder: JobFolder) -> None:
        """Lets the worker of a warm app do a call for which there is no job.

        Cancelled, which only the end of a server does, it ends the worker.

        Args:
          app: Name of the app.
          call: Paths in it are relative to the folder.
          folder: Has the files, and gets the results.

        Raises:
          WorkerError: If it was not done.
        """
        worker = self._workers[app]
        entry = call.inside(folder.path).to_json()
        await worker.ask(entry, folder.out)

    def may_work_in_memory(self, app: str) -> bool:
        """Whether the worker of a warm app may do calls whose files are in memory."""
        return self._workers[app].works_in_memory is not False

    async def answer_in_memory(
        self, app: str, call: Call, contents: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Lets the worker of a warm app do a call with files in memory: see `answer`.

        Args:
          app: Name of the app.
          call: Paths in it are names of `contents`.
          contents: File -> bytes.

        Returns:
          Name of a file of the result -> bytes.

        Raises:
          NeedsFilesError: If it has to be asked with files.
          WorkerError: If it was not done.
        """
        entry = call.to_json()
        return await self._workers[app].ask_in_memory(entry, contents)

    async def _do_in_process(
        self, app: ServedApp, call: Call, folder: JobFolder, taken: str
    ) -> None:
        assert self.devices is not None
        arguments = call.to_arguments(app.path, "out", progress="lines")
        env = _processes.environment(self.devices.environment(taken))
        command = self._command(arguments)
        try:
            process = _processes.JobProcess(folder, command, env)
        except OSError as error:
            raise JobFailed(f"The job cannot be started: {error.strerror}.") from None
        try:
            code = await self._watch(process, folder)
        finally:
            await asyncio.shield(process.stop())
        if code != 0:
            told = _processes.problem(code, folder)
            _log.error("A job failed (%s): %s", code, _processes.tail(folder.problems))
            raise JobFailed(told)

    async def _watch(self, process: _processes.JobProcess, folder: JobFolder) -> int:
        """Waits for a process; raises where it prints or takes too much."""
        started = time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(process.wait(), _WATCH_SECS)
            files = (folder.log, folder.problems)
            if sum(x.stat().st_size for x in files) > self._limits.max_log_bytes:
                raise JobFailed(
                    f"The job printed more than {self._limits.max_log_bytes} bytes."
                )
            longest = self._limits.max_job_secs
            if longest and time.monotonic() - started > longest:
                raise JobFailed(f"The job ran for longer than {longest:g} seconds.")
