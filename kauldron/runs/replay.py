"""Replays a step that produced a non-finite value, and reports where it came from."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any

import jax
from jax.experimental import checkify

from kauldron import sharding
from kauldron._base import errors, tracebacks
from kauldron.data import utils as data_utils
from kauldron.evals import base
from kauldron.step import finiteness
from kauldron.train import nan_guard

Nonfinite = finiteness.Nonfinite


class ReplayError(errors.UserError, ValueError):
    """There is no such step to repeat."""


@dataclasses.dataclass(frozen=True)
class Replay:
    """What a step did when it was repeated.

    Attributes:
      step: The step.
      found: Tensors with values that are not finite, in the order they are made.
      origin: The first operation that made a NaN out of numbers, or that divided by
        zero, with its line in the source; `None` if none did.
    """

    step: int
    found: list[Nonfinite]
    origin: str | None

    def __str__(self) -> str:
        lines = [
            f"Step {self.step}, values that are not finite, in the order made:",
            *(f"  {nonfinite}" for nonfinite in self.found or ["none"]),
        ]
        if self.origin:
            lines.append(f"The first operation: {self.origin}")
        return "\n".join(lines)

    __repr__ = __str__


def saved_steps(workdir: Any) -> list[int]:
    """Returns the steps that a `NanGuard` has saved in a workdir, ascending."""
    names = (path.name.removeprefix("nan_") for path in workdir.glob("nan_*"))
    return sorted(int(name) for name in names if name.isdecimal())


def replay(trainer: base.Run, step: int | None = None) -> Replay:
    """Repeats a step from the state and the batch that a `NanGuard` has saved.

    The state need not have been trained on as many devices.

    Args:
      trainer: The `Trainer` of the run.
      step: Which step; the last one saved unless given.

    Raises:
      ReplayError: If the step was not saved.
    """
    steps = saved_steps(trainer.workdir)
    if not steps or (step is not None and step not in steps):
        wanted = "no step" if step is None else f"step {step} is not"
        raise ReplayError(
            f"In {str(trainer.workdir)!r}, {wanted} saved for a replay: found {steps}. "
            "`cfg.nan_guard = kd.train.NanGuard()` saves a step that meets a value that "
            "is not finite."
        )
    step = steps[-1] if step is None else step
    saved = _restore(trainer, step)
    state, batch = saved.train_state, saved.batch
    with trainer.sharding.set_global_mesh():
        found = finiteness.Finder(trainer.trainstep._step).find(state, batch)
        checked = checkify.checkify(trainer.trainstep._step, errors=_CHECKS)
        error, _ = jax.jit(checked)(state, batch)
    return Replay(step=step, found=found, origin=_origin(error))


def _origin(error: checkify.Error) -> str | None:
    exception = error.get_exception()
    if exception is None:
        return None
    lines = traceback.extract_tb(exception.traceback_info.as_python_traceback())
    own = [line for line in lines if not _is_library(line.filename)]
    where = ""
    if own:
        path = tracebacks.show_path(own[-1].filename)
        where = f" ({path}:{own[-1].lineno}, {own[-1].name})"
    return f"{str(error.get()).rstrip('.')}{where}"


def _is_library(filename: str) -> bool:
    path = filename.replace("\\", "/")
    return any(f"/{name}/" in path for name in ("jax", "jaxlib", "flax", "optax"))


_CHECKS = checkify.nan_checks | checkify.div_checks


def _restore(trainer: base.Run, step: int) -> nan_guard.ReplayState:
    batch = data_utils.batch_specs(trainer.train_ds.element_spec)
    batch = data_utils.get_global_elem_spec(batch, trainer.sharding.batch)
    wanted = nan_guard.ReplayState(
        train_state=trainer.state_specs,
        batch=sharding.with_sharding_constraint(batch, trainer.sharding.batch),
    )
    checkpointer = nan_guard.replay_checkpointer(trainer.workdir, step)
    try:
        return checkpointer.restore(wanted, step=step)
    finally:
        checkpointer.close()
