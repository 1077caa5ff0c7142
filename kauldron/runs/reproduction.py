"""Reruns a run in a new workdir, to test whether it gives the same parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import os

from etils import epath

from kauldron import checkpoints, sharding
from kauldron._base import errors
from kauldron.evals import base
from kauldron.workdir import data_records, launches


class ReproductionError(errors.UserError, ValueError):
    """A run that cannot be done again as asked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What became of doing a run again.

    Attributes:
      step: At which both were compared.
      expected: Hash of the parameters of the first run.
      found: Hash of the parameters of the second run.
    """

    step: int
    expected: str
    found: str

    @property
    def is_same(self) -> bool:
        """Whether every bit of the parameters is the same."""
        return self.expected == self.found


def describe_changes(source: epath.PathLike) -> list[str]:
    """Returns a line per thing that is not as it was when a run first started.

    Args:
      source: Directory of the run.
    """
    return launches.describe_changes(source, backend=sharding.describe_backend())


def reproduce(trainer: base.Run, source: epath.PathLike) -> Reproduction:
    """Trains as far as the newest checkpoint of another run, and compares.

    On CPU, with the same packages and devices, the parameters are the same bit for bit.

    Args:
      trainer: The trainer of that run's config, with its own workdir.
      source: Directory of the run.

    Raises:
      ReproductionError: If the run saved nothing, or the workdir is not a new one.
      NoCheckpointError: If there is no such run.
    """
    step = max(checkpoints.list_steps(source), default=None)
    if step is None:
        raise ReproductionError(
            f"The run in {os.fspath(source)!r} has saved nothing that could be compared."
        )
    workdir = epath.Path(trainer.workdir)
    if workdir.exists() and any(workdir.iterdir()):
        raise ReproductionError(
            f"{os.fspath(workdir)!r} is not empty: a run is done again in a new workdir. "
            "Choose another with `--out=...`."
        )
    data_records.copy(source, workdir)
    # A checkpointer that saves nothing else saves the last step.
    trainer.replace(stop_after_steps=step).train()
    return Reproduction(
        step=step,
        expected=params_hash(source, step=step),
        found=params_hash(workdir, step=step),
    )


def params_hash(workdir: epath.PathLike, *, step: int = -1) -> str:
    """Returns the SHA-256 of the parameters of a checkpoint: names, dtypes, values.

    Args:
      workdir: Directory of the run.
      step: Which step; -1 is the newest.
    """
    arrays = checkpoints.load_arrays(workdir, step, paths=["params"])
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
