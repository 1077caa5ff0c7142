"""A folder of predicted volumes: complete files only, to be gone on with."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Image
from kauldron.volumes.geometry.errors import VolumeError

_RECORD = "predictions.json"


class PredictionFolder:
    """Where the outputs of each case are written.

    Of a single output, files are `<case><suffix>`; of several, each has a folder of its
    name.

    Args:
      path: The folder; it is made.
      suffixes: Name of each output -> suffix of its files.
      made_by: What the predictions hang on, JSON-able; a folder is gone on with only by
        what began it.

    Raises:
      VolumeError: If the folder has other predictions, or other files.
    """

    def __init__(
        self, path: Any, suffixes: Mapping[str, str], made_by: Mapping[str, Any]
    ) -> None:
        self._path = pathlib.Path(path)
        self._suffixes = dict(suffixes)
        self._check(dict(made_by))

    def file(self, case: str, output: str) -> pathlib.Path:
        """Returns where an output of a case is."""
        folder = self._path if len(self._suffixes) == 1 else self._path / output
        return folder / f"{case}{self._suffixes[output]}"

    def is_complete(self, case: str) -> bool:
        """Whether all outputs of a case are there."""
        return all(self.file(case, output).exists() for output in self._suffixes)

    def write(self, case: str, output: str, image: Image) -> pathlib.Path:
        """Writes an output of a case; the file appears when it is complete."""
        file = self.file(case, output)
        file.parent.mkdir(parents=True, exist_ok=True)
        volume_files.write(file, image)
        return file

    def _check(self, made_by: dict[str, Any]) -> None:
        record = self._path / _RECORD
        if record.exists():
            before = json.loads(record.read_text("utf-8"))
            changed = [
                f"`{name}` was {before.get(name)!r} and is {value!r}"
                for name, value in made_by.items()
                if before.get(name) != value
            ]
            if changed:
                raise VolumeError(
                    f"{os.fspath(self._path)!r} has other predictions: "
                    f"{'; '.join(changed)}. Choose another folder, or delete this one."
                )
            return
        if self._path.exists() and any(self._path.iterdir()):
            raise VolumeError(
                f"{os.fspath(self._path)!r} has files that are no predictions: choose "
                "an empty or a new folder."
            )
        self._path.mkdir(parents=True, exist_ok=True)
        shared_files.write_atomically(epath.Path(record), json.dumps(made_by, indent=1))
