"""Predictions that are a folder of files, as evaluators write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from kauldron._base import errors
from kauldron.evals import base
from kauldron.runs import _saved_state


def is_folder(path: epath.PathLike) -> bool:
    """Whether a path is that of a folder, old or new: it has no suffix."""
    return epath.Path(path).is_dir() or not epath.Path(path).suffix


def write_folder(
    trainer: base.Run,
    out: epath.PathLike,
    *,
    step: int | str | None = -1,
    eval_name: str | None = None,
    ds: Any = None,
) -> Iterator[str]:
    """Writes what a trained model predicts to a folder, as an evaluator of the run does.

    Args:
      trainer: The run.
      out: The folder.
      step: Which checkpoint, see `Predictor.from_workdir`.
      eval_name: Which evaluator; the only one that writes folders unless given.
      ds: Another dataset than that of the evaluator.

    Yields:
      The files that were written.

    Raises:
      PredictError: If there is no such checkpoint or evaluator.
    """
    evaluator = _writer(trainer, eval_name, out)
    state = _saved_state.restore_state(trainer, step)
    yield from evaluator.write_folder(state, out, step=int(state.step), ds=ds)


def _writer(
    trainer: base.Run, eval_name: str | None, out: epath.PathLike
) -> base.WritesFolder:
    writers = {
        name: evaluator
        for name, evaluator in trainer.evals.items()
        if isinstance(evaluator, base.WritesFolder)
    }
    if eval_name is None and len(writers) == 1:
        return next(iter(writers.values()))
    if eval_name in writers:
        return writers[eval_name]
    if not writers:
        raise _saved_state.PredictError(
            f"{os.fspath(out)!r} is a folder, and no evaluator of the run writes one: "
            "predictions go to a '.npz' or '.parquet' file."
        )
    hint = errors.did_you_mean(eval_name or "", writers)
    raise _saved_state.PredictError(
        f"Say which evaluator writes the folder {os.fspath(out)!r}, with "
        f"`--eval_name`: there are {list(writers)}.{hint}"
    )
