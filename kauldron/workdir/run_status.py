"""`workdir/status.json`: the status of a training run, for any program to read.

The training process writes it, even during long steps; reading it needs no JAX.
Programs that follow a run, such as standalone evaluators, know from it when to end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from etils import epath

from kauldron._base import console, process_signals, shared_files

STATUS_FILE = "status.json"
# Published name of the mark of a training that reached its end.
COMPLETE_FILE = "train_complete.txt"
HEARTBEAT_SECS = 10.0
# Without a sign of life for so long, a training counts as dead.
_SILENCE_SECS = 6 * HEARTBEAT_SECS


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One look at a training.

    Attributes:
      state: `'running'`; `'done'` when the end was reached (the last step, or an early
        stop); `'interrupted'` when a signal ended it after saving; `'failed'`.
      run_id: Names the run. A process that continues it keeps the name; one that starts
        from nothing in the same workdir makes another.
      first_step: Step at which the run began.
      step: Updates applied, as of the last sign of life.
      last_step: Updates the run is to make in all.
      pid: Process that trains.
      host: Machine it is on.
      started: When the process began, seconds since 1970.
      heartbeat: Time of the last sign of life, seconds since 1970.
      message: Why it failed, was interrupted, or was done before its last step.
      problems: What went wrong without ending the run: metrics and writers that failed,
        a loss that is not finite. Empty if nothing did.
    """

    state: Literal["running", "done", "interrupted", "failed"]
    run_id: str
    first_step: int
    step: int
    last_step: int
    pid: int
    host: str
    started: float
    heartbeat: float
    message: str = ""
    problems: Sequence[str] = ()

    @property
    def silent_secs(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - self.heartbeat)

    @property
    def is_alive(self) -> bool:
        """Whether a process is training, as far as can be told."""
        if self.state != "running":
            return False
        if self.host == socket.gethostname() and not process_signals.is_alive(self.pid):
            return (
                self.silent_secs < 1.5 * HEARTBEAT_SECS
            )  # perhaps another container's
        return self.silent_secs < _SILENCE_SECS

    def describe(self) -> str:
        """Returns what is going on, as the end of "The training ..."."""
        at = f"step {self.step} of {self.last_step}"
        if self.state == "running":
            if self.is_alive:
                return f"is at {at}"
            return (
                f"has died at about {at} (no sign of life for {self.silent_secs:.0f} s)"
            )
        if self.state == "done":
            early = f" ({self.message})" if self.message else ""
            but = f", but: {'; '.join(self.problems)}" if self.problems else ""
            return f"is done at step {self.step}{early}{but}"
        because = f" ({self.message.splitlines()[0]})" if self.message else ""
        verb = "was interrupted" if self.state == "interrupted" else "failed"
        return f"{verb} at {at}{because}"


def read(workdir: epath.PathLike) -> RunStatus | None:
    """Returns the status of a run; `None` if none was written.

    Raises:
      ValueError: If the file is not a status.
    """
    path = epath.Path(workdir) / STATUS_FILE
    try:
        fields = json.loads(path.read_text())
        known = {f.name for f in dataclasses.fields(RunStatus)}
        return RunStatus(**{k: v for k, v in fields.items() if k in known})
    except shared_files.MISSING:
        return None
    except (ValueError, TypeError, AttributeError) as e:
        raise ValueError(f"{os.fspath(path)!r} is no status of a run: {e}") from e


class Report:
    """Keeps `status.json` up to date during a run.

    Attributes:
      step: Updates applied; set by the training loop.
      problems: What went wrong; set by the training loop at the end.
      message: Why it has ended before its last step; set by the training loop.
    """

    message = ""

    def __init__(self, workdir: epath.Path, status: RunStatus) -> None:
        self.step = status.step
        self.problems = status.problems
        self._path = workdir / STATUS_FILE
        self._status = status
        self._ended = threading.Event()
        self._write()
        self._thread = threading.Thread(
            target=self._beat, name="kauldron-status", daemon=True
        )
        self._thread.start()

    def end(self, state: object, message: str = "") -> None:
        """Writes how the run ended."""
        self._ended.set()
        self._thread.join()
        self._status = dataclasses.replace(
            self._status, state=state, message=message or self.message
        )
        try:
            self._write()
        except OSError as e:  # how the run ended is reported elsewhere too
            console.warn(f"{os.fspath(self._path)!r} could not be written: {e}")

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECS):
            with contextlib.suppress(
                OSError
            ):  # a full disk is reported by what matters
                self._write()

    def _write(self) -> None:
        status = dataclasses.replace(
            self._status,
            step=self.step,
            problems=list(self.problems),
            heartbeat=time.time(),
        )
        shared_files.write_atomically(
            self._path, json.dumps(dataclasses.asdict(status), indent=2)
        )


class _Unwritten:
    """Takes the place of a `Report` in processes that write nothing."""

    step = 0
    problems: Sequence[str] = ()
    message = ""

    def end(self, state: object, message: str = "") -> None:
        pass


@contextlib.contextmanager
def report(
    workdir: epath.Path,
    *,
    step: int,
    last_step: int,
    is_new: bool,
    writes: bool | None = None,
) -> Iterator[Any]:
    """Writes the status of the training that runs inside the block.

    Args:
      workdir: Directory of the run.
      step: Updates applied when the block begins.
      last_step: Updates the run is to make in all.
      is_new: Whether the run starts from nothing; otherwise it continues.
      writes: Whether this process writes the file; the first of several unless given.

    Yields:
      An object whose `step`, `problems` and `message` the loop sets.
    """
    if writes is None:
        writes = console.is_lead_host()
    report: Any = _Unwritten()
    if writes:
        report = start(workdir, step=step, last_step=last_step, is_new=is_new)
    error = None
    try:
        yield report
    except BaseException as e:
        error = e
        raise
    finally:
        state, message = outcome_of(error)
        report.end(state, message)
        if writes and state == "done":
            (workdir / COMPLETE_FILE).touch()


def outcome_of(
    error: BaseException | None,
) -> tuple[Literal["done", "interrupted", "failed"], str]:
    """Returns how a run has ended, and why.

    Args:
      error: What it has raised; `sys.exit(0)` is no failure.
    """
    match error:
        case None:
            return "done", ""
        case SystemExit(code=None | 0):
            return "done", ""
        case KeyboardInterrupt():
            return "interrupted", str(error)
    return "failed", f"{type(error).__name__}: {error}"


def start(workdir: epath.Path, *, step: int, last_step: int, is_new: bool) -> Report:
    """Writes that a run has started; see `report` for the arguments."""
    (workdir / COMPLETE_FILE).unlink(missing_ok=True)
    before = None
    if not is_new:
        with contextlib.suppress(ValueError):  # a damaged file is replaced
            before = read(workdir)
    now = time.time()
    status = RunStatus(
        state="running",
        run_id=before.run_id if before else uuid.uuid4().hex,
        first_step=before.first_step if before else (step if is_new else 0),
        step=step,
        last_step=last_step,
        pid=os.getpid(),
        host=socket.gethostname(),
        started=now,
        heartbeat=now,
        # Of a run that is only found to be at its end.
        problems=before.problems if before and step >= last_step else (),
    )
    return Report(workdir, status)
