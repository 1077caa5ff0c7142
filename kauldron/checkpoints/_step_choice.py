"""Parsing of a step argument: a number, `'latest'`, or `'best'`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from etils import epath

from kauldron._base import errors
from kauldron.checkpoints import _errors, _layout, _retention
from kauldron.workdir import ranking

LATEST, BEST = "latest", "best"


def resolve_step(
    workdir: epath.PathLike, step: int | str | None, *, checkpointer: Any = None
) -> int:
    """Returns the number of a step.

    The best step is that of `Checkpointer.best_metric_path`: of equal values the
    earliest, and never one at which nothing was measured, or NaN.

    Args:
      workdir: Directory of the run.
      step: A number, also as text; `'latest'`, -1 or `None`; or `'best'`.
      checkpointer: Defines what is best; by default that of the run's config.

    Returns:
      The step; -1 for the newest that is not damaged.

    Raises:
      NoCheckpointError: If there is no step to choose from.
      CheckpointError: If the text is not a step, or nothing says what is best.
    """
    if step is None or step == LATEST:
        return -1
    if step == BEST:
        return _best(workdir, checkpointer)
    try:
        number = int(step)
    except ValueError:
        number = None
    if number is None or number < -1:
        raise _errors.CheckpointError(
            f"A step is a number, {LATEST!r} or {BEST!r}: got {step!r}."
            f"{errors.did_you_mean(str(step), (LATEST, BEST))}"
        )
    return number


def best_by_config(
    workdir: epath.PathLike, infos: Sequence[_retention.StepInfo]
) -> int | None:
    """Returns the best step, if the config of the run says what is best."""
    path, mode = _by_config(workdir)
    if path is None:
        return None
    return ranking.best_step(_retention.values_of(infos, path), mode)


def _best(workdir: epath.PathLike, checkpointer: Any) -> int:
    _layout.open_step(workdir)  # raises
    folders = _layout.step_dirs(_layout.checkpoints_dir(workdir))
    path, mode = _by_config(workdir)
    if getattr(checkpointer, "best_metric_path", None) is not None:
        path, mode = checkpointer.best_metric_path, checkpointer.best_mode
    if path is None:
        raise _errors.CheckpointError(
            f"Nothing says which step of {os.fspath(workdir)!r} is the best: set "
            "`cfg.checkpointer.best_metric_path`, such as 'test.accuracy', or name a "
            f"step; there are {list(folders)}."
        )
    infos = _retention.step_infos(folders)
    best = ranking.best_step(_retention.values_of(infos, path), mode)
    if best is None:
        raise _errors.CheckpointError(
            f"No step of {os.fspath(workdir)!r} has a number for {path!r}, so none is the "
            f"best; there are {list(folders)}, see `kauldron ckpt ls`."
        )
    return best


def _by_config(workdir: epath.PathLike) -> tuple[str | None, ranking.Mode]:
    """Returns the metric that says what is best in the config of a run, and how."""
    try:
        config = json.loads((epath.Path(workdir) / "config.json").read_text())
        checkpointer = config["checkpointer"]
        path = checkpointer["best_metric_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, "max"
    return path, "min" if checkpointer.get("best_mode") == "min" else "max"
