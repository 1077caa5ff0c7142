"""The formats, and which of them a path has."""

from __future__ import annotations

import os
import pathlib

from kauldron._base import errors
from kauldron.volumes.files import (
    _dicom,
    _folders,
    _hdf5,
    _metaimage,
    _nifti,
    _npy,
    _nrrd,
    _ome_zarr,
    _pictures,
)
from kauldron.volumes.files.base import Format, Info
from kauldron.volumes.geometry.errors import VolumeError

FORMATS: tuple[Format, ...] = (
    _nifti.Nifti(),
    _metaimage.MetaImage(),
    _nrrd.Nrrd(),
    _ome_zarr.OmeZarr(),
    _hdf5.Hdf5(),
    _npy.Npy(),
    _dicom.Dicom(),
    _pictures.Picture("PNG", (".png",), ("uint16",)),
    _pictures.Picture("TIFF", (".tif", ".tiff"), ("uint16", "int32", "float32")),
)
# A path may go on inside of such a file: `all.h5/case_1/ct`.
_CONTAINERS = tuple(f for f in FORMATS if isinstance(f, _hdf5.Hdf5 | _ome_zarr.OmeZarr))


def format_of(path: str | os.PathLike[str]) -> Format:
    """Returns the format of a file, by its name; other folders are DICOM series.

    Raises:
      VolumeError: If no format has such a name.
    """
    path = pathlib.Path(path)
    for format_ in FORMATS:
        if path.name.lower().endswith(format_.suffixes):
            return format_
    for format_ in _CONTAINERS:
        if _folders.split(path, format_.suffixes)[1]:
            return format_
    if _dicom.is_series(path):
        return next(f for f in FORMATS if isinstance(f, _dicom.Dicom))
    suffixes = [suffix for format_ in FORMATS for suffix in format_.suffixes]
    suffix = "".join(path.suffixes[-2:]).lower()
    raise VolumeError(
        f"{os.fspath(path)!r} has no suffix of a volume."
        f"{errors.did_you_mean(suffix, suffixes)} There are {', '.join(suffixes)}."
    )


def that_hold(info: Info) -> list[str]:
    """Returns the usual suffixes of the formats that can hold a volume."""
    return [f.suffixes[0] for f in FORMATS if f.refusal(info) is None]
