"""Fails if a custom step ignores an option of the trainer."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from kauldron._base import errors, root_refs

# As a step has them that is used without a trainer.
_DEFAULTS: dict[str, Any] = {"precision": None, "remat": None, "grad_accum_steps": 1}

_used: contextvars.ContextVar[set[str] | None] = contextvars.ContextVar(
    "kauldron_used_options", default=None
)


class TrainStepError(errors.UserError, ValueError):
    """A step that does not do what the trainer says."""


def get(step: Any, name: str) -> Any:
    """Returns an option of a step, which may not be bound to a trainer."""
    value = getattr(step, name)
    return _DEFAULTS[name] if isinstance(value, root_refs.RootCfgRef) else value


def use(step: Any, *names: str) -> list[Any]:
    """Returns options of a step, and notes that the step that is traced follows them."""
    used = _used.get()
    if used is not None:
        used.update(names)
    return [get(step, name) for name in names]


@contextlib.contextmanager
def all_used(step: Any) -> Iterator[None]:
    """Raises at the end of the block if it has left out an option that is set.

    Raises:
      TrainStepError: If it has.
    """
    used: set[str] = set()
    token = _used.set(used)
    try:
        yield
    finally:
        _used.reset(token)
    for name, default in _DEFAULTS.items():
        if name not in used and get(step, name) != default:
            raise TrainStepError(
                f"`cfg.{name}` has no effect: {type(step).__name__}._step leaves it out. "
                "Leave it out too, or build the step from `self.forward`, "
                "`self.compute_grads` and `self.apply_grads`."
            )
