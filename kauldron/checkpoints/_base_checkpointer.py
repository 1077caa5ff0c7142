"""The checkpointer protocol, and a no-op checkpointer."""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from kauldron._base import root_refs
from kauldron.ktyping import PyTree

_StateT = TypeVar("_StateT")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BaseCheckpointer(root_refs.UpdateFromRootCfg, abc.ABC):
    """Protocol of checkpointers.

    Attributes:
      saves: Whether anything is ever saved; without, there is nothing to restore.
    """

    saves: ClassVar[bool] = True

    @abc.abstractmethod
    def restore(
        self,
        state: _StateT,
        *,
        step: int = -1,
        noop_if_missing: bool = False,
        donate: bool = True,
    ) -> _StateT:
        """Returns what was saved at a step, see `Checkpointer.restore`."""

    @abc.abstractmethod
    def should_save(self, step: int) -> bool:
        """Whether the state after `step` updates is to be saved."""

    @abc.abstractmethod
    def save(
        self,
        state: PyTree,
        *,
        step: int,
        force: bool = False,
        metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        """Saves a state; returns whether it did."""

    def maybe_save(
        self,
        state: PyTree,
        *,
        step: int,
        force: bool = False,
        metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        """Saves the state if the step is one to save at, or `force` is set."""
        if not (force or self.should_save(step)):
            return False
        return self.save(state, step=step, force=force, metrics=metrics)

    @property
    @abc.abstractmethod
    def latest_step(self) -> int | None:
        """The newest complete step, `None` if there is none."""

    @property
    @abc.abstractmethod
    def all_steps(self) -> Sequence[int]:
        """All complete steps, ascending."""

    def iter_new_checkpoints(
        self,
        min_interval_secs: float = 0,
        seconds_to_sleep: float = 1,
        timeout: float | None = None,
        timeout_fn: Callable[[], bool] | None = None,
    ) -> Iterator[int]:
        """Yields the newest step, then each newer one as another process writes it.

        Of the steps written while the caller was busy, only the newest is yielded.

        Args:
          min_interval_secs: Shortest time between two steps yielded.
          seconds_to_sleep: Polling interval.
          timeout: Seconds without a new step after which to end; `None` waits forever.
          timeout_fn: Called after each timeout; the iteration ends if it returns True.
        """
        last: int | None = None
        while True:
            step = self._wait_for_newer(last, seconds_to_sleep, timeout)
            if step is not None:
                started = time.monotonic()
                yield step
                last = step
                time.sleep(max(0, started + min_interval_secs - time.monotonic()))
            elif timeout_fn is None or timeout_fn():
                return

    def _wait_for_newer(
        self, last: int | None, seconds_to_sleep: float, timeout: float | None
    ) -> int | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            newest = self.latest_step
            if newest is not None and (last is None or newest > last):
                return newest
            if deadline is not None and time.monotonic() + seconds_to_sleep > deadline:
                return None
            time.sleep(seconds_to_sleep)

    def for_reading(self) -> Self:
        """Returns a read-only checkpointer, which creates nothing on disk."""
        return self

    def reload(self) -> None:
        """Rereads what is on disk; a no-op unless something is cached."""

    def protect(self, step: int | None, *, owner: str) -> None:
        """Protects a step from deletion, whatever the retention policy says.

        Args:
          step: The step, in place of the one protected for this owner before; `None`
            for none.
          owner: Who needs it, such as a hook that has announced it as the best.
        """

    def add_metrics(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Stores what was measured at a step that is saved, if there is nothing yet."""

    def wait_until_finished(self) -> None:
        """Waits for a background save; raises its error, if any."""

    def close(self) -> None:
        """Waits and releases threads."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopCheckpointer(BaseCheckpointer):
    """Never saves; what it "restores" is what it was given."""

    saves: ClassVar[bool] = False

    def restore(
        self,
        state: _StateT,
        *,
        step: int = -1,
        noop_if_missing: bool = False,
        donate: bool = True,
    ) -> _StateT:
        if state is None:
            raise ValueError("NoopCheckpointer has nothing to restore: pass a state.")
        return state

    def should_save(self, step: int) -> bool:
        return False

    def save(
        self,
        state: PyTree,
        *,
        step: int,
        force: bool = False,
        metrics: Mapping[str, Any] | None = None,
    ) -> bool:
        if force:
            raise ValueError(
                "This run saves nothing (NoopCheckpointer): set `cfg.checkpointer = "
                "kd.ckpts.Checkpointer(save_interval_steps=...)`."
            )
        return False

    @property
    def latest_step(self) -> int | None:
        return None

    @property
    def all_steps(self) -> Sequence[int]:
        return []

    def iter_new_checkpoints(
        self,
        min_interval_secs: float = 0,
        seconds_to_sleep: float = 1,
        timeout: float | None = None,
        timeout_fn: Callable[[], bool] | None = None,
    ) -> Iterator[int]:
        """Yields nothing: there will be no step."""
        return iter(())
