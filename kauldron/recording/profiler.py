"""Profiler traces of a few steps: where time goes on the host and on the devices."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import ClassVar

import jax
from etils import epath

from kauldron._base import console, errors, root_refs

PROFILE_DIR = "profile"


class ProfilerError(errors.UserError, ValueError):
    """A profiler that cannot trace what it is asked to."""


@dataclasses.dataclass
class _Trace:
    """What is being traced, and when the last trace began."""

    is_running: bool = False
    first_step: int = 0
    started: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Profiler(root_refs.UpdateFromRootCfg):
    """Writes traces of a few steps to `workdir/profile/`.

    The files open in XProf (TensorBoard's profile plugin) and in ui.perfetto.dev. The
    first trace begins before the step `first_profile`; it lasts `num_profile_steps`
    steps, or `profile_duration_ms` if that is over earlier, and at least one step. A
    trace ends in any case when the run does.

    Attributes:
      num_profile_steps: Length of a trace in steps, >= 1.
      profile_duration_ms: Longest duration of a trace; `None` has no limit.
      all_host: Whether all processes trace, and not only the first.
      first_profile: Steps of this process before the first trace, >= 0: those that
        compile are not of interest.
      every_steps: Interval in steps between the beginnings of traces; `None` for none.
      every_secs: Interval in seconds; `None` for none. Whichever comes first counts.
      on_colab: Whether to trace in notebooks, too.
      workdir: Directory of the run; the trainer's unless given.

    Raises:
      ProfilerError: If a value is out of range.
    """

    # Whether it needs to be called at all.
    traces: ClassVar[bool] = True

    num_profile_steps: int = 5
    profile_duration_ms: float | None = 3_000
    all_host: bool = False
    first_profile: int = 10
    every_steps: int | None = None
    every_secs: float | None = 3600.0
    on_colab: bool = False
    workdir: epath.PathLike = root_refs.ROOT_CFG_REF.workdir
    _trace: _Trace = dataclasses.field(default_factory=_Trace, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, smallest in (
            ("num_profile_steps", 1),
            ("first_profile", 0),
            ("every_steps", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ProfilerError(
                    f"`Profiler.{name}` must be at least {smallest}: got {value}."
                )

    def __call__(self, step: int, *, wait_for: object = None) -> None:
        """Begins or ends a trace; call it before each step.

        Args:
          step: Number of steps this process has done.
          wait_for: Arrays that are ready once the devices have done the steps before:
            a trace ends after them.
        """
        trace = self._trace
        if trace.is_running:
            if self._is_over(step - trace.first_step):
                jax.block_until_ready(wait_for)
                self.close()
        elif self._is_due(step):
            self._start(step)

    def close(self) -> None:
        """Ends a trace that is running."""
        if self._trace.is_running:
            self._trace.is_running = False
            jax.profiler.stop_trace()
            console.log(f"Profile written to {os.fspath(self._directory)}.")

    @property
    def _directory(self) -> epath.Path:
        return epath.Path(self.workdir) / PROFILE_DIR

    def _start(self, step: int) -> None:
        trace = self._trace
        trace.first_step, trace.started = step, time.monotonic()
        try:
            jax.profiler.start_trace(
                os.fspath(self._directory), create_perfetto_trace=True
            )
        except RuntimeError as e:  # another trace of this process is active
            console.warn(f"no profile of step {step}: {e}")
            return
        trace.is_running = True

    def _is_over(self, num_steps: int) -> bool:
        if num_steps >= self.num_profile_steps:
            return True
        limit, started = self.profile_duration_ms, self._trace.started
        if limit is None or started is None:
            return False
        return num_steps >= 1 and (time.monotonic() - started) * 1e3 >= limit

    def _is_due(self, step: int) -> bool:
        if not (self.all_host or console.is_lead_host()):
            return False
        if _in_notebook() and not self.on_colab:
            return False
        trace = self._trace
        if trace.started is None or step < trace.first_step:  # another run began
            return step == self.first_profile
        if self.every_steps and step - trace.first_step >= self.every_steps:
            return True
        return (
            self.every_secs is not None
            and time.monotonic() - trace.started >= self.every_secs
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopProfiler(root_refs.UpdateFromRootCfg):
    """Traces nothing."""

    traces: ClassVar[bool] = False

    def __call__(self, step: int, *, wait_for: object = None) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _in_notebook() -> bool:
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "ZMQ" in type(shell).__name__
