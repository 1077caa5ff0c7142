"""Ways for a process to be killed, by its own hand, at a chosen instant.

What happens to files is seen through Python's audit events, so nothing is patched.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

# Where a kill is aimed at.
ANYWHERE = "anywhere"
WRITE = "array write"
COMMIT = "commit"
CLEANUP = "clean-up"
PHASES = (ANYWHERE, WRITE, COMMIT, CLEANUP)

_TEMPORARY = "orbax-checkpoint-tmp"
_REMOVALS = ("os.remove", "os.rmdir", "shutil.rmtree")


@dataclasses.dataclass(frozen=True)
class Kill:
    """One kill.

    Attributes:
      phase: One of `PHASES`.
      step: It happens at this step or later.
      delay_secs: Time from the event that it waits for to the kill; 0 is before it.
      event: How many events of the phase pass before.
    """

    phase: str
    step: int
    delay_secs: float
    event: int


def draw(rng: random.Random, phase: str, step: int) -> Kill:
    """Returns a kill in a phase, at a step, drawn uniformly over what it can hit."""
    # About as long as each of them takes.
    longest = {ANYWHERE: 0.03, WRITE: 0.02, COMMIT: 0.002, CLEANUP: 0.002}[phase]
    is_at_once = phase != ANYWHERE and rng.random() < 0.5
    return Kill(
        phase=phase,
        step=step,
        delay_secs=0.0 if is_at_once else rng.uniform(0, longest),
        event=rng.randrange(3),
    )


class Killer:
    """Ends this process as `kill` says; writes to `report` where it was hit."""

    def __init__(self, kill: Kill, report: pathlib.Path) -> None:
        self._kill = kill
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT)
        self._is_armed = False
        self._is_writing = False
        self._is_striking = False
        self._events_left = kill.event
        sys.addaudithook(self._on_event)

    def before_step(self, step: int) -> None:
        """Told by the loop."""
        if step >= self._kill.step and not self._is_armed:
            self._is_armed = True
            if self._kill.phase == ANYWHERE:
                self._strike_later()

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        phase = _phase_of(event, args)
        if phase is None:
            return
        self._is_writing = phase == WRITE
        if not self._is_armed or phase != self._kill.phase or self._is_striking:
            return
        self._events_left -= 1
        if self._events_left >= 0:
            return
        if self._kill.delay_secs == 0:  # before it happens
            self._strike()
        self._strike_later()

    def _strike_later(self) -> None:
        self._is_striking = True
        threading.Thread(target=self._wait_and_strike, daemon=True).start()

    def _wait_and_strike(self) -> None:
        time.sleep(self._kill.delay_secs)
        self._strike()

    def _strike(self) -> None:
        hit = self._kill.phase
        if hit == ANYWHERE and self._is_writing:
            hit = WRITE
        os.write(self._report, hit.encode())
        os.kill(os.getpid(), signal.SIGKILL)


def _phase_of(event: str, args: tuple[Any, ...]) -> str | None:
    """Returns the phase of a save that begins with an audit event, if any."""
    if event == "os.mkdir" and _TEMPORARY in str(args[0]):
        return WRITE
    if event == "os.rename" and _TEMPORARY in str(args[0]):
        return COMMIT
    if event in _REMOVALS and "ckpt_" in str(args[0]):
        return CLEANUP
    return None


def hook(on_step: Callable[[int], None]) -> Any:
    """Returns a hook of the training loop that tells the steps."""
    from kauldron import kd

    class TellSteps(kd.train.Hook):
        def before_step(self, run: Any, *, step: int, **unused: Any) -> None:
            on_step(step)

    return TellSteps()
