"""Eval-only trainers: what they take from the run they evaluate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron import checkpoints, data
from kauldron._base import errors
from kauldron.train import setup_utils
from kauldron.workdir import workdirs

_INHERITED = ("model", "sharding", "rng_streams", "seed")


class EvalOnlyError(errors.UserError, ValueError):
    """An eval-only trainer without a run to evaluate, or not declared eval-only."""


def fill_in(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a trainer, with missing ones taken from the other run.

    Raises:
      EvalOnlyError: If `aux.workdir` is missing, or `setup.eval_only` is off.
    """
    filled = {
        "num_train_steps": 0,
        "stop_after_steps": 0,
        "optimizer": None,
        "checkpointer": None,
        "setup": setup_utils.Setup(eval_only=True),
        **kwargs,
    }
    if not filled["setup"].eval_only:
        raise EvalOnlyError(
            "`Trainer.eval_only` needs `cfg.setup.eval_only=True`, which is its default."
        )
    aux = filled.get("aux") or {}
    workdir = aux.get("workdir")
    if workdir is None:
        raise EvalOnlyError(
            "`Trainer.eval_only` evaluates another run: say which, with "
            "`--cfg.aux.workdir=runs/digits`."
        )
    trusted = aux.get("trusted", ())
    cfg = workdirs.load_config(workdir, trusted=trusted)
    for name in _INHERITED:
        if name not in filled and name in cfg:
            filled[name] = workdirs.get_resolved(workdir, path=name, trusted=trusted)
    if "train_ds" not in filled:
        spec = workdirs.get_element_spec(workdir)
        filled["train_ds"] = data.tf.ElementSpecDataset(spec=spec)
    if "init_transform" not in filled:
        filled["init_transform"] = checkpoints.PartialKauldronLoader(
            workdir=workdir,
            step=aux.get("step", -1),
            new_to_old={name: name for name in ("step", "params", "collections")},
        )
    return filled


def check_workdir(workdir: epath.PathLike | None) -> None:
    """Raises `EvalOnlyError` if a run was trained there: its files would be replaced."""
    if workdir is not None and (epath.Path(workdir) / "checkpoints").exists():
        raise EvalOnlyError(
            f"{os.fspath(workdir)!r} belongs to a run that was trained. An evaluation of "
            "another run needs a workdir of its own: choose another `--cfg.workdir=...`."
        )
