"""Fails if a custom step ignores an option of the trainer."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from kauldron._base import errors
from kauldron.step.context import Context

# The values in a step that is used without a trainer.
DEFAULTS: dict[str, Any] = {"precision": None, "remat": None, "grad_accum_steps": 1}

# What the step that is being traced has followed.
USED: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar(
    "kauldron_used_options", default=None
)


class TrainStepError(errors.UserError, ValueError):
    """A step that does not do what the trainer says."""


def check_pair(step: Any, method: str, first: str, result: Any) -> None:
    """Raises unless an overridden method returned two things, the second a `Context`.

    Raises:
      TrainStepError: If it did not.
    """
    is_pair = isinstance(result, tuple) and len(result) == 2
    if not is_pair or not isinstance(result[1], Context):
        got = type(result).__name__
        if is_pair:
            got = f"({', '.join(type(x).__name__ for x in result)})"
        raise TrainStepError(
            f"`{type(step).__name__}.{method}` must return {first} and the context: got "
            f"{got}."
        )


@contextlib.contextmanager
def all_used(step: Any) -> Iterator[None]:
    """Raises at the end of the block if it has left out an option that is set.

    Raises:
      TrainStepError: If it has.
    """
    used: set[str] = set()
    token = USED.set(used)
    try:
        yield
    finally:
        USED.reset(token)
    for name, default in DEFAULTS.items():
        if name not in used and step.option(name) != default:
            raise TrainStepError(
                f"`cfg.{name}` has no effect: {type(step).__name__}._step leaves it out. "
                "Leave it out too, or build the step from `self.forward`, "
                "`self.compute_grads` and `self.apply_grads`."
            )
