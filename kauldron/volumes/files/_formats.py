"""The formats, and which of them a path has."""

from __future__ import annotations

import os
import pathlib

from kauldron._base import errors
from kauldron.volumes.files import _nifti, _npy
from kauldron.volumes.files.base import Format, Info
from kauldron.volumes.geometry.errors import VolumeError

FORMATS: tuple[Format, ...] = (_nifti.Nifti(), _npy.Npy())


def format_of(path: str | os.PathLike[str]) -> Format:
    """Returns the format of a file, by its name.

    Raises:
      VolumeError: If no format has such a name.
    """
    name = pathlib.Path(path).name.lower()
    for format_ in FORMATS:
        if name.endswith(format_.suffixes):
            return format_
    suffixes = [suffix for format_ in FORMATS for suffix in format_.suffixes]
    suffix = "".join(pathlib.Path(name).suffixes[-2:])
    raise VolumeError(
        f"{os.fspath(path)!r} has no suffix of a volume.{errors.did_you_mean(suffix, suffixes)} "
        f"There are {', '.join(suffixes)}."
    )


def that_hold(info: Info) -> list[str]:
    """Returns the usual suffixes of the formats that can hold a volume."""
    return [f.suffixes[0] for f in FORMATS if f.refusal(info) is None]
