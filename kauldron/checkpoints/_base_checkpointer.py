"""The protocol of checkpointers, and the one that saves nothing."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from kauldron.utils import config_util

_StateT = TypeVar("_StateT")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class BaseCheckpointer(config_util.UpdateFromRootCfg, abc.ABC):
    """Protocol of checkpointers."""

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
        self, state: Any, *, step: int, force: bool = False, metrics: Any = None
    ) -> bool:
        """Saves a state; returns whether it did."""

    def maybe_save(self, state: Any, *, step: int, metrics: Any = None) -> bool:
        """Saves the state if the step is one to save at."""
        return self.should_save(step) and self.save(state, step=step, metrics=metrics)

    @property
    @abc.abstractmethod
    def latest_step(self) -> int | None:
        """The newest complete step, `None` if there is none."""

    @property
    @abc.abstractmethod
    def all_steps(self) -> Sequence[int]:
        """All complete steps, ascending."""

    def wait_until_finished(self) -> None:
        """Waits for a save in the background; raises what went wrong in it."""

    def close(self) -> None:
        """Waits and releases threads."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopCheckpointer(BaseCheckpointer):
    """Never saves; what it "restores" is what it was given."""

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
        self, state: Any, *, step: int, force: bool = False, metrics: Any = None
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
