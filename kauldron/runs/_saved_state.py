"""Loading the saved state of a run."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax

from kauldron import checkpoints, sharding
from kauldron._base import errors
from kauldron.evals import base
from kauldron.sharding import TrainState
from kauldron.workdir import workdirs


class PredictError(errors.UserError, ValueError):
    """A run that cannot be used to predict, or inputs that do not fit it."""


def restore_state(trainer: base.Run, step: int | str | None) -> TrainState:
    """Returns the state of a checkpoint, see `kd.ckpts.resolve_step`.

    Raises:
      PredictError: If there is no such checkpoint.
    """
    checkpointer = trainer.checkpointer
    if not checkpointer.saves:  # what it has saved before, or what another config has
        checkpointer = checkpoints.Checkpointer(
            workdir=trainer.workdir, save_interval_steps=1
        )
    checkpointer = checkpointer.for_reading()
    steps = list(checkpointer.all_steps)
    if steps:
        step = checkpoints.resolve_step(
            trainer.workdir, step, checkpointer=trainer.checkpointer
        )
    if not steps or (step != -1 and step not in steps):
        is_number = isinstance(step, int) and step != -1
        wanted = f"checkpoint of step {step}" if is_number else "checkpoint"
        there = f" There are steps {steps}." if steps else " It has not saved any yet."
        raise PredictError(
            f"The run {os.fspath(trainer.workdir)!r} has no {wanted}.{there}"
        )
    init = functools.partial(
        trainer.init_state, skip_transforms=True, element_spec=element_spec(trainer)
    )
    specs = sharding.with_sharding_constraint(jax.eval_shape(init), sharding.REPLICATED)
    specs = sharding.with_sharding_constraint(specs, trainer.sharding.state_of(specs))
    try:
        return checkpointer.restore(specs, step=int(step))
    finally:
        checkpointer.close()


def restore_member(member: int | str, run: base.Run) -> TrainState:
    """Returns the state of a further member of an ensemble.

    Args:
      member: Step of the run, also as text, or the workdir of another one, `'runs/fold_1@best'`, with
        the same model.
      run: The run.

    Raises:
      PredictError: If there is no such checkpoint.
    """
    if isinstance(member, int) or member == "best":
        return restore_state(run, member)
    if member.isdecimal() and not os.path.isdir(member):
        return restore_state(run, int(member))
    workdir, _, step = member.partition("@")
    number = int(step) if step.lstrip("-").isdigit() else step or -1
    other = run.replace(workdir=workdir, evals={})
    return restore_state(other, number)


def element_spec(trainer: base.Run) -> Any:
    """Returns the specs of a training batch; no training data are needed."""
    try:
        return workdirs.get_element_spec(trainer.workdir)
    except workdirs.WorkdirConfigError:
        return trainer.train_ds.element_spec
