"""Stop requests: signals, and the file `STOP` in the workdir.

A request is noted immediately and obeyed at a step boundary, the same one in every
process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import numpy as np
from etils import epath

from kauldron import sharding
from kauldron._base import cell_errors, console, process_signals

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

# A scheduler that takes a machine away sends several signals, to every process of the
# job: Slurm 22.05 two SIGTERM within a second. They are one request. Who presses Ctrl-C
# again means it.
_ONE_REQUEST_SECS = 5.0

STOP_FILE = "STOP"

# Looking for the file costs a round trip on a remote file system: a thread does it.
_LOOK_EVERY_SECS = 1.0

# How often processes synchronise stop requests: in seconds, and at most in steps.
_AGREE_EVERY_SECS = 1.0
_AGREE_EVERY_STEPS = 100


class TrainingInterrupted(cell_errors.Interruption):
    """A signal, or the file `STOP`, ended the training.

    Attributes:
      saved: Whether the state was saved, so that starting again continues the run.
    """

    def __init__(self, message: str, *, saved: bool) -> None:
        super().__init__(message)
        self.saved = saved


class StopRequest:
    """Whether the run has been asked to stop.

    Attributes:
      reason: What asked, such as `'SIGTERM'`; `None` while nothing did.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._agreement = _Agreement() if jax.process_count() > 1 else None

    def __bool__(self) -> bool:
        return self.reason is not None

    def is_due(self) -> bool:
        """Whether to stop at this step boundary; each process asks once a step.

        The answer is the same in all processes.
        """
        if self._agreement is None:
            return self.reason is not None
        if not self._agreement.reached(wanted=bool(self)):
            return False
        self.reason = self.reason or "another process"
        return True

    def interruption(
        self, workdir: epath.Path, step: int, last_step: int, *, saved: bool
    ) -> TrainingInterrupted:
        """Returns the exception that ends the run at a step."""
        message = f"Stopped by {self.reason} at step {step} of {last_step}."
        if saved:
            message += (
                f" The run is saved: start it again with the same workdir ({workdir}) to "
                "continue."
            )
        else:
            message += " Nothing was saved: this run has no checkpointer."
        return TrainingInterrupted(message, saved=saved)


class _Agreement:
    """One small reduction about once a second, read when the next one is due.

    By then it has long been computed, so that no step waits for it. The number of steps
    in between follows from the slowest process's time, which is reduced too.
    """

    def __init__(self) -> None:
        self._interval = self._steps_left = self._asked_steps = 1
        self._since = time.monotonic()
        self._asked: jax.Array | None = None

    def reached(self, *, wanted: bool) -> bool:
        self._steps_left -= 1
        if self._steps_left:
            return False
        interval = num_steps = self._interval
        if self._asked is not None:
            is_wanted, secs = jax.device_get(self._asked)
            if is_wanted:
                return True
            interval = int(self._asked_steps * _AGREE_EVERY_SECS / max(secs, 1e-6))
        now = time.monotonic()
        mine = np.array([wanted, now - self._since], np.float32)
        self._asked = sharding.max_over_processes(mine)
        sharding.settle(self._asked)
        self._since, self._asked_steps = now, num_steps
        self._interval = min(max(interval, 1), _AGREE_EVERY_STEPS)
        self._steps_left = self._interval
        return False


@contextlib.contextmanager
def catch(workdir: epath.Path) -> Iterator[StopRequest]:
    """Notes the first signal, or the file `STOP`; a later signal ends the run at once.

    The file is removed when the run has ended in any way, so that the next start runs. Only
    the main thread can receive signals: elsewhere nothing is installed.
    """
    request = StopRequest()
    with _catch_signals(request), _watch_file(workdir / STOP_FILE, request):
        yield request


@contextlib.contextmanager
def _catch_signals(request: StopRequest) -> Iterator[None]:
    came_at: float | None = None

    def on_signal(signum: int, frame: FrameType | None) -> None:
        del frame
        nonlocal came_at
        if came_at is not None:
            is_same_request = time.monotonic() - came_at < _ONE_REQUEST_SECS
            if is_same_request and signum != signal.SIGINT:
                return
            restore()
            os.kill(os.getpid(), signum)
            return
        came_at = time.monotonic()
        request.reason = signal.Signals(signum).name
        console.log(
            f"{request.reason}: saving after this step. Once more ends at once."
        )

    with process_signals.handled(_SIGNALS, on_signal) as restore:
        yield


@contextlib.contextmanager
def _watch_file(path: epath.Path, request: StopRequest) -> Iterator[None]:
    if not console.is_lead_host():
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            if _exists(path):
                request.reason = request.reason or os.fspath(path)
                return
            is_over.wait(_LOOK_EVERY_SECS)

    thread = threading.Thread(target=watch, name="kauldron-stop-file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with contextlib.suppress(OSError):  # a failure of the run is not hidden by it
            path.unlink(missing_ok=True)


def _exists(path: Any) -> bool:
    try:
        return path.exists()
    except OSError:  # a file system that is briefly unavailable is no stop request
        return False
