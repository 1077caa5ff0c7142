"""A folder of predicted volumes: complete files only, to be gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.prediction import _parts, outputs
from kauldron.volumes.transforms import chain

_RECORD = "predictions.json"


class PredictionFolder:
    """Where the outputs of each case are written.

    Of a single output, files are `<case><suffix>`; of several, each has a folder of its
    name.

    Args:
      path: The folder; it is made.
      suffixes: Name of each output -> suffix of its files.
      made_by: What the predictions hang on, JSON-able; a folder is gone on with only by
        what began it. It is written with the first volume.

    Raises:
      VolumeError: If the folder has other predictions, or other files, or cannot be made.
    """

    def __init__(
        self, path: Any, suffixes: Mapping[str, str], made_by: Mapping[str, Any]
    ) -> None:
        self._path = pathlib.Path(path)
        self._suffixes = dict(suffixes)
        self._made_by = dict(made_by)
        with self._explained():
            self._check()
            self._path.mkdir(parents=True, exist_ok=True)

    def file(self, case: str, output: str) -> pathlib.Path:
        """Returns where an output of a case is."""
        folder = self._path if len(self._suffixes) == 1 else self._path / output
        return folder / f"{case}{self._suffixes[output]}"

    def is_complete(self, case: str) -> bool:
        """Whether all outputs of a case are there."""
        return all(self.file(case, output).exists() for output in self._suffixes)

    def write(
        self, case: str, output: str, volume: chain.Opened, *, num_numbers: int = 0
    ) -> pathlib.Path:
        """Writes an output of a case; the file appears when it is complete.

        Args:
          case: Name of the case.
          output: Name of the output.
          volume: What is written.
          num_numbers: Of how many a voxel is made, if some planes are to be in memory at
            a time; 0 is all of them.
        """
        file = self.file(case, output)
        with self._explained():
            file.parent.mkdir(parents=True, exist_ok=True)
            record = self._path / _RECORD
            if not record.exists():
                text = json.dumps(self._made_by, indent=1)
                shared_files.write_atomically(epath.Path(record), text)
        if not num_numbers:
            volume_files.write(file, outputs.as_image(volume))
            return file
        num_channels = volume.read(Region((0, 0, 0), (1, 1, 1))).shape[-1]
        regions = list(_parts.slabs(volume.shape, num_numbers))
        dtype = outputs.written_dtype(map(volume.read, regions))
        with volume_files.open_region_writer(
            file,
            shape=volume.shape,
            num_channels=num_channels,
            dtype=dtype,
            geometry=volume.geometry,
        ) as writer:
            for region in regions:
                writer.write(region, volume.read(region).astype(dtype, copy=False))
        return file

    def _check(self) -> None:
        record = self._path / _RECORD
        if record.exists():
            before = json.loads(record.read_text("utf-8"))
            changed = list(_changes(before, self._made_by))
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

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns errors of the file system into messages."""
        try:
            yield
        except OSError as e:
            raise VolumeError(
                f"Predictions cannot be written to the folder {os.fspath(self._path)!r}: "
                f"{e.strerror or e}."
            ) from e


def described(settings: Any) -> dict[str, str]:
    """Returns field -> its value as text, of a dataclass."""
    fields = [field for field in dataclasses.fields(settings) if field.repr]
    return {field.name: repr(getattr(settings, field.name)) for field in fields}


def _changes(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yields what differs between two trees of dicts, leaf by leaf."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        if before != now:
            yield f"`{path}` was {_told(before)} and is {_told(now)}"
        return
    for name in dict.fromkeys([*now, *before]):
        below = f"{path}.{name}" if path else name
        yield from _changes(before.get(name), now.get(name), below)


def _told(value: Any) -> str:
    return "another" if isinstance(value, Mapping) else f"{value}"
