"""Reading a run's checkpoints while another process writes and removes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TypeVar

from etils import epath

from kauldron._base import shared_files
from kauldron.checkpoints import _layout, _restoring

_StateT = TypeVar("_StateT")


class CheckpointGoneError(FileNotFoundError):
    """A checkpoint was removed, possibly while it was read."""


class CheckpointReader:
    """The checkpoints of a run, as they are now; never changes them.

    Orbax's manager cleans up what looks unfinished, and so would delete what the
    training process is still writing. This class looks at the folders itself.

    Args:
      workdir: Directory of the run. It may not exist yet.
    """

    def __init__(self, workdir: epath.PathLike) -> None:
        self._workdir = workdir
        self.directory = _layout.checkpoints_dir(workdir)

    def steps(self) -> list[int]:
        """Returns the complete steps, ascending."""
        try:
            return list(_layout.step_dirs(self.directory))
        except shared_files.MISSING:  # removed meanwhile
            return []

    def candidates(self, step: int = -1) -> list[int]:
        """Returns the steps that can stand for `step`, the best first: -1 is any.

        Raises:
          NoCheckpointError: If there is none. It lists those that exist.
        """
        _layout.open_step(self._workdir, step)  # raises
        return sorted(self.steps(), reverse=True) if step == -1 else [step]

    def path(self, step: int) -> epath.Path:
        """Returns the folder of a step."""
        return _layout.step_dir(self.directory, step)

    def restore(self, specs: _StateT, *, step: int) -> _StateT:
        """Returns a saved state.

        Args:
          specs: The expected state, of `jax.ShapeDtypeStruct`s with shardings or of
            arrays. What is `None` there is not read.
          step: Which step.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
          DamagedCheckpointError: If files are not what was written.
          CheckpointError: If the checkpoint has a different structure.
        """
        with self.guard(step):
            return _restoring.restore_step(
                step, self.path(step), specs, donate=False, parts=True
            )

    @contextlib.contextmanager
    def guard(self, step: int) -> Iterator[None]:
        """Makes sure that a checkpoint stays intact while the block reads it.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
        """
        folder = self.path(step)
        files = _sizes(folder)
        if not files:
            raise CheckpointGoneError(f"There is no checkpoint {os.fspath(folder)!r}.")
        gone = CheckpointGoneError(
            f"The checkpoint {os.fspath(folder)!r} was removed while it was read."
        )
        try:
            yield
        except Exception as e:
            if _sizes(folder) != files:
                raise gone from e
            raise
        # Missing pieces of arrays are read as zeros, without an error. Files of a
        # checkpoint never come back: if all are there now, all were.
        if _sizes(folder) != files:
            raise gone

    def copy_to(self, target: CheckpointReader, *, step: int) -> None:
        """Copies a checkpoint to another place; links where possible.

        Raises:
          CheckpointGoneError: If the step is not there, or was removed meanwhile.
        """
        if step in target.steps():
            return
        temporary = target.directory / "copying"
        if temporary.exists():  # a killed process was
            temporary.rmtree()
        with self.guard(step):
            for name in _sizes(self.path(step)):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(self.path(step) / name, temporary / name)
        temporary.rename(target.path(step))


def _sizes(folder: epath.Path) -> dict[str, int]:
    """Returns the size of every file below a folder, by relative path."""
    try:
        files = _layout.all_files(folder)
        return {name: path.stat().length for name, path in files.items()}
    except shared_files.MISSING:  # removed meanwhile
        return {}


def _link_or_copy(source: epath.Path, target: epath.Path) -> None:
    if not _layout.is_remote(source):
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    source.copy(target)
