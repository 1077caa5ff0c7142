"""Evaluates one checkpoint of a run, even while the run is training."""

from __future__ import annotations

import os
from collections.abc import Iterable

from etils import epath

from kauldron import checkpoints
from kauldron._base import errors
from kauldron.evals import base, standalone
from kauldron.step import auxiliaries

FOLDER = "evaluations"


class OutputFolderError(errors.UserError, ValueError):
    """The folder for results cannot be written."""


def evaluate_checkpoint(
    trainer: base.Run,
    eval_names: Iterable[str] | str | None = None,
    *,
    step: int | str | None = -1,
    out: epath.PathLike | None = None,
    writes: bool = True,
) -> tuple[int, dict[str, auxiliaries.AuxiliariesOutput]]:
    """Evaluates one checkpoint, with evaluators of any strategy.

    Nothing of the run itself is touched: results go to a folder of their own.

    Args:
      trainer: The trainer of the run, see `kd.train.workdirs`.
      eval_names: Names of evaluators, a list or `'a,b'`; all unless given.
      step: Which checkpoint; -1 or 'latest' is the newest that is not damaged, 'best'
        that of `Checkpointer.best_metric_path`.
      out: Where results are written; a new folder `workdir/evaluations/ckpt_<step>`
        unless given.
      writes: Whether results are written.

    Returns:
      The step, and name -> values of each evaluator.

    Raises:
      UserError: If there is no such evaluator or checkpoint.
      ExceptionGroup: If evaluators failed; the others have been through.
    """
    selected = standalone.select(
        trainer.evals, list(trainer.evals) if eval_names is None else eval_names
    )
    standalone.check_one_process()
    source = standalone.OwnRun(trainer, selected)
    wanted = checkpoints.resolve_step(
        trainer.workdir, step, checkpointer=trainer.checkpointer
    )
    number, state = checkpoints.newest_intact(
        source.reader.candidates(wanted), source.restore
    )
    folder = _make_folder(trainer.workdir, number, out) if writes else None
    redirected = {name: e.writing_to(folder) for name, e in selected.items()}
    evaluations = standalone.Evaluations(redirected)
    try:
        for name in redirected:
            evaluations.run(name, state, number)
    finally:
        evaluations.close()
    evaluations.raise_errors()
    return number, evaluations.outputs


def _make_folder(
    workdir: epath.Path, step: int, out: epath.PathLike | None
) -> epath.Path:
    """Creates where results go; a folder that no other evaluation writes to, or `out`.

    Raises:
      OutputFolderError: If it cannot be written.
    """
    folder = epath.Path(workdir / FOLDER / f"ckpt_{step}" if out is None else out)
    try:
        if out is not None:
            if any(folder.glob("*.jsonl")):
                raise OutputFolderError(
                    f"{os.fspath(folder)!r} holds results already: choose another "
                    "`--out=...`."
                )
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number = 1
        while True:
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
                folder = workdir / FOLDER / f"ckpt_{step}_{number}"
            else:
                return folder
    except OSError as e:
        raise OutputFolderError(
            f"{os.fspath(folder)!r} cannot be written: {e.strerror or e}. Choose another "
            "place with `--out=...`, or `--nowrite`."
        ) from e
