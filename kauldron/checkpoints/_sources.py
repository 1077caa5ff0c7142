"""Where checkpoint surgery takes arrays from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Protocol

from etils import epath

from kauldron.checkpoints import (
    _arrays,
    _checksums,
    _errors,
    _layout,
    _step_choice,
    items,
)


class Source(Protocol):
    """Named arrays on a disk."""

    @property
    def name(self) -> str:
        """Where they are."""
        ...

    def specs(self) -> Mapping[str, Any]:
        """Returns name -> anything with `shape` and `dtype`."""
        ...

    def read(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        """Reads some arrays, see `_arrays.read`."""
        ...


@dataclasses.dataclass(frozen=True)
class StepSource:
    """The state of one step of a run."""

    folder: epath.Path

    @classmethod
    def open(
        cls, workdir: epath.PathLike, step: int | str, *, verify: bool = False
    ) -> StepSource:
        """Finds a step.

        Args:
          workdir: Directory of the run.
          step: Which step, see `resolve_step`.
          verify: Whether the files are compared with their checksums.

        Raises:
          NoCheckpointError: If there is no such run or step.
          DamagedCheckpointError: If files have changed since they were written.
          CheckpointError: If it holds no state.
        """
        step, folder = _layout.open_step(
            workdir, _step_choice.resolve_step(workdir, step)
        )
        if verify and (problems := _checksums.find_damage(folder)):
            raise _errors.DamagedCheckpointError(step, folder, problems)
        item_dir = _layout.find_item(folder, items.DEFAULT_NAME)
        if item_dir is None:
            raise _errors.CheckpointError(f"{os.fspath(folder)!r} holds no state.")
        return cls(item_dir)

    @property
    def name(self) -> str:
        return os.fspath(self.folder.parent)

    def specs(self) -> Mapping[str, Any]:
        return _arrays.saved(self.folder)

    def read(self, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        return _arrays.read(self.folder, wanted)
