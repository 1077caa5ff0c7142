"""DICOM: a series, which is a folder with a file for each slice, or one file."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from kauldron.volumes.files import (
    _dicom_slices,
    _dicom_writing,
    _dtypes,
    _folders,
    _notes,
    _packages,
)
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.geometry.errors import VolumeError

_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")
_WRITTEN = _dtypes.named("uint8 int16 uint16")


@dataclasses.dataclass(frozen=True)
class Dicom:
    """A folder with a series, or a `.dcm` file; `FOLDER/1.2.840...` is one of several.

    Slices lie along the normal, whatever their names and numbers. Written is a folder,
    `x.dicom`.
    """

    name: str = "DICOM"
    suffixes: tuple[str, ...] = (".dicom", ".dcm")

    def open(self, path: pathlib.Path) -> DicomSource:
        series = ""
        if not path.exists() and is_series(path):
            path, series = path.parent, path.name
        path.stat()  # missing files are told as everywhere
        return DicomSource(path, series)

    def refusal(self, info: Info) -> str | None:
        if info.num_channels == 3 and info.dtype == np.uint8:
            pass
        elif info.num_channels != 1 or info.dtype not in _WRITTEN:
            return (
                "DICOM holds one channel of uint8, int16 or uint16, or three of uint8, "
                f"and these are {info.num_channels} of {info.dtype}."
            )
        _, y, x = info.geometry.direction.T
        if abs(x @ y) > 1e-6:
            return "the rows and columns of a DICOM slice are at right angles."
        return None

    @contextlib.contextmanager
    def create(self, path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
        if path.name.lower().endswith(".dcm"):
            raise VolumeError(
                f"{path}: a series is a folder; call it {path.with_suffix('.dicom')}."
            )
        with (
            _folders.replacing(path) as folder,
            _dicom_writing.writing(folder, info) as writer,
        ):
            yield writer


def is_series(path: pathlib.Path) -> bool:
    """Whether a path may be a series, by its name, or because it is a folder."""
    return path.is_dir() or (path.parent.is_dir() and bool(_UID.fullmatch(path.name)))


class DicomSource:
    """A DICOM series whose headers have been read."""

    def __init__(self, path: pathlib.Path, series: str) -> None:
        self._path = path
        slices = _dicom_slices.read(path, series)
        self._slices = _dicom_slices.ordered(path, slices)
        geometry, notes = _geometry(path, self._slices)
        header = self._slices[0].header
        samples = int(header.get("SamplesPerPixel") or 1)
        dtype = _stored_dtype(path, header)
        scalings = {(s.slope, s.intercept) for s in self._slices}
        if len(scalings) > 1:
            dtype = np.dtype(np.float64)
            notes += ("Rescale: slope and intercept differ between the slices.",)
        else:
            dtype = _dtypes.scaled(dtype, *scalings.pop())
        if header.get("PhotometricInterpretation") == "MONOCHROME1":
            notes += (
                "Inverted: the values are to be shown with 0 as white, and are read as "
                "they are.",
            )
        self.info = Info(
            shape=(len(self._slices), int(header.Rows), int(header.Columns)),
            num_channels=samples,
            dtype=dtype,
            geometry=geometry,
            format="DICOM",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        shape = (*region.shape, self.info.num_channels)
        array = np.empty(shape, self.info.dtype)
        z, y, x = region.slices
        for i, found in enumerate(self._slices[z]):
            pixels = _pixels(found)
            pixels = pixels.reshape(*pixels.shape[:2], -1)[y, x]
            array[i] = _dtypes.scale(
                pixels, found.slope, found.intercept, self.info.dtype
            )
        return array


def _pixels(found: _dicom_slices.Slice) -> np.ndarray:
    pixels = _packages.load("pydicom.pixels", "DICOM")
    try:
        return pixels.pixel_array(found.path, index=found.frame)
    except (RuntimeError, NotImplementedError) as e:
        raise VolumeError(
            f"{found.path}: the pixels cannot be unpacked: {e}. Try `pip install "
            "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`."
        ) from e
    except (ValueError, AttributeError, EOFError) as e:
        raise VolumeError(
            f"{found.path} is cut off or damaged: {e}. Copy or download it again."
        ) from e


def _stored_dtype(path: pathlib.Path, header: object) -> np.dtype:
    bits = int(getattr(header, "BitsAllocated", 0))
    sign = "i" if getattr(header, "PixelRepresentation", 0) else "u"
    if bits == 1:
        return np.dtype(np.uint8)
    if bits not in (8, 16, 32):
        raise VolumeError(f"{path}: there are no values of {bits} bits.")
    return np.dtype(f"{sign}{bits // 8}")


def _geometry(
    path: pathlib.Path, slices: list[_dicom_slices.Slice]
) -> tuple[Geometry, tuple[str, ...]]:
    notes: list[str] = []
    first, last = slices[0], slices[-1]
    origin = first.position
    if origin is None:
        notes.append(
            f"{_notes.NO_PLACEMENT}: the file has no ImagePositionPatient. The first "
            "voxel is put at the origin."
        )
        origin = np.zeros(3)
    if last.position is not None and len(slices) > 1:
        step = (last.position - origin) / (len(slices) - 1)
        along = float(step @ first.normal)
        shift = float(np.linalg.norm(step - along * first.normal))
        if shift * (len(slices) - 1) < 0.02:  # digits that were cut off, and no tilt
            step = along * first.normal
        else:
            angle = np.degrees(np.arctan2(shift, along))
            notes.append(
                f"Tilt: each slice is shifted by {shift:.3g} mm against the one before, "
                f"as of a gantry tilted by {angle:.3g} degrees. The shear is kept; "
                "SimpleITK drops it."
            )
    else:
        header = first.header
        thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
        if not thickness:
            notes.append("Thickness: one slice, and none is told. 1 mm is assumed.")
        step = first.normal * float(thickness or 1)
    x, y = first.rows * first.spacing[::-1, None]
    return Geometry(matrix=np.stack([step, y, x], axis=1), origin=origin), tuple(notes)
