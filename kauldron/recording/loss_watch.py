"""Tracks since when a loss has been non-finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from kauldron._base import console

_ADVICE = (
    "`cfg.nan_guard = kd.train.NanGuard()` finds the first value that is not finite."
)

# How often a loss that alternates between finite and not is reported.
_MAX_TOLD = 3


class LossWatch:
    """Follows a loss from one logged step to the next.

    Args:
      name: Whose loss it is, in messages: `'the loss'`.
      advises: Whether to mention that a guard would say more.
    """

    def __init__(self, name: str, *, advises: bool = False) -> None:
        self.name = name
        self._advises = advises
        self._since: int | None = None
        self._last_finite: int | None = None
        self._value: Any = None
        self._num_told = 0

    def see(self, step: int, value: Any) -> None:
        """Takes the loss that was measured at a step; warns when it first goes wrong."""
        if np.all(np.isfinite(value)):
            if self._since is not None and self._num_told <= _MAX_TOLD:
                console.log(
                    f"{self.name} is finite again at step {step}; it was {self._value} "
                    f"from step {self._since} on."
                )
            self._since, self._last_finite = None, step
            return
        self._value = value
        if self._since is None:
            self._since = step
            self._num_told += 1
            if self._num_told <= _MAX_TOLD:
                advice = f" {_ADVICE}" if self._advises else ""
                console.warn(f"{self.name} is {value} at step {step}.{advice}")

    def fact(self) -> str | None:
        """Returns since when the loss is not finite, after its name; `None` if it is."""
        if self._since is None:
            return None
        if self._last_finite is None:
            before = "the first one measured"
        else:
            before = f"last finite at step {self._last_finite}"
        return f"is {self._value} since step {self._since} ({before})"
