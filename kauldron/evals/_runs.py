"""Finished runs: whether a directory is one, and the state it holds."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

import jax
import numpy as np
from etils import enp, epath

from kauldron import checkpoints, errors, sharding
from kauldron.train.state import TrainState


class PredictError(errors.UserError, ValueError):
    """A run that cannot be used to predict, or inputs that do not fit it."""


def check_run(workdir: epath.PathLike) -> None:
    """Raises `PredictError` unless a directory is that of a run."""
    workdir = epath.Path(workdir)
    if (workdir / "config.json").exists():
        return
    shown = os.fspath(workdir)
    if not workdir.is_dir():
        siblings = workdir.parent.iterdir() if workdir.parent.is_dir() else ()
        names = [os.fspath(p) for p in siblings if p.is_dir()]
        hint = errors.did_you_mean(shown, names)
        raise PredictError(f"There is no run {shown!r}: no such directory.{hint}")
    inside = sorted(p.name for p in workdir.iterdir() if (p / "config.json").exists())
    hint = f" The runs in it are {inside}." if inside else ""
    raise PredictError(f"{shown!r} is no workdir of a run: no config.json in it.{hint}")


def restore_state(trainer: Any, step: int) -> TrainState:
    """Returns the state of a checkpoint; -1 is the newest.

    Raises:
      PredictError: If there is no such checkpoint.
    """
    checkpointer = trainer.checkpointer
    if isinstance(checkpointer, checkpoints.NoopCheckpointer):
        checkpointer = checkpoints.Checkpointer(
            workdir=trainer.workdir, save_interval_steps=1
        )
    if isinstance(checkpointer, checkpoints.Checkpointer):
        checkpointer = checkpointer.replace(create=False)  # reading creates nothing
    steps = list(checkpointer.all_steps)
    if not steps or (step != -1 and step not in steps):
        wanted = "checkpoint" if step == -1 else f"checkpoint of step {step}"
        there = f" There are steps {steps}." if steps else " It has not saved any yet."
        raise PredictError(
            f"The run {os.fspath(trainer.workdir)!r} has no {wanted}.{there}"
        )
    init = functools.partial(
        trainer.init_state, skip_transforms=True, element_spec=element_spec(trainer)
    )
    specs = sharding.with_sharding_constraint(jax.eval_shape(init), sharding.REPLICATED)
    specs = sharding.with_sharding_constraint(specs, trainer.sharding.state)
    try:
        return checkpointer.restore(specs, step=step)
    finally:
        checkpointer.close()


def element_spec(trainer: Any) -> Any:
    """Returns the specs of a training batch; no training data are needed."""
    path = epath.Path(trainer.workdir) / "element_spec.json"
    if not path.exists():
        return trainer.train_ds.element_spec

    def parse(node: Any) -> Any:
        if isinstance(node, list):
            return [parse(child) for child in node]
        if set(node) == {"shape", "dtype"} and isinstance(node["shape"], list):
            dtype = object if "str" in node["dtype"] else np.dtype(node["dtype"])
            return enp.ArraySpec(shape=tuple(node["shape"]), dtype=dtype)
        return {key: parse(child) for key, child in node.items()}

    return parse(json.loads(path.read_text()))
