"""The slices of a DICOM series: their headers, their order, and what is wrong with them."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from kauldron.volumes.files import _packages
from kauldron.volumes.geometry.errors import VolumeError

# What is read of each file; pixels are not.
_TAGS = (
    *("SeriesInstanceUID", "SeriesDescription", "Modality", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "DoseGridScaling", "BitsAllocated"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"),
    *("NumberOfFrames", "GridFrameOffsetVector", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "ModalityLUTSequence"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """A slice: a file, or a frame of one.

    Attributes:
      path: The file.
      frame: Index of the frame in the file.
      header: What the file says.
      position: World point of the first voxel, or None where the file does not tell.
      rows: Directions along a row (x) and along a column (y), `f64[2 3]`.
      spacing: Along a column (y) and along a row (x), mm.
      slope: Factor of stored values.
      intercept: Summand.
    """

    path: pathlib.Path
    frame: int
    header: Any
    position: np.ndarray | None
    rows: np.ndarray
    spacing: np.ndarray
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        """Direction at right angles to the slice."""
        return np.cross(*self.rows)

    @property
    def where(self) -> str:
        """Name of the file, and the frame."""
        has_frames = int(self.header.get("NumberOfFrames") or 1) > 1
        return f"{self.path.name}{f' frame {self.frame}' if has_frames else ''}"


def read(path: pathlib.Path, series: str = "") -> list[Slice]:
    """Returns the slices of a file, or of a series in a folder, in no special order.

    Raises:
      VolumeError: If there is none, or there are several series; lists them.
    """
    by_series: dict[str, list[Any]] = collections.defaultdict(list)
    for file, header in _headers(path):
        by_series[str(header.get("SeriesInstanceUID", ""))].append((file, header))
    if not by_series:
        raise VolumeError(
            f"{path} has no DICOM images. A folder must hold the files of the series, "
            "not other folders."
        )
    if series and series not in by_series:
        raise VolumeError(f"{path} has no series {series!r}.{_listed(by_series)}")
    if not series and len(by_series) > 1:
        uid = min(by_series)
        raise VolumeError(
            f"{path} has {len(by_series)} series. Say which one, as in "
            f"{str(path / uid)!r}.{_listed(by_series)}"
        )
    files = by_series[series or next(iter(by_series))]
    return [found for file, header in files for found in _slices_of(file, header)]


def ordered(path: pathlib.Path, slices: list[Slice]) -> list[Slice]:
    """Returns the slices along their normal.

    Raises:
      VolumeError: If they make no volume: names the files.
    """
    first = slices[0]
    for other in slices[1:]:
        _check_alike(path, first, other)
    if len(slices) == 1:
        return slices
    unplaced = [s.where for s in slices if s.position is None]
    if unplaced:
        raise VolumeError(
            f"{path}: {_some(unplaced)} do not say where they are "
            "(ImagePositionPatient); a volume cannot be made of them."
        )
    slices = sorted(slices, key=_height)
    heights = np.array([_height(s) for s in slices])
    gaps = np.diff(heights)
    _check_duplicates(path, slices, gaps)
    tolerance = max(0.02, 0.02 * float(gaps.min()))
    if gaps.max() - gaps.min() > tolerance:
        raise _unequal(path, slices, gaps, tolerance)
    _check_line(path, slices, tolerance)
    return slices


def _height(found: Slice) -> float:
    assert found.position is not None
    return float(found.position @ found.normal)


def _headers(path: pathlib.Path) -> Iterable[tuple[pathlib.Path, Any]]:
    pydicom = _packages.load("pydicom", "DICOM")
    pydicom_errors = _packages.load("pydicom.errors", "DICOM")
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    else:
        files = [path]
    for file in files:
        try:
            header = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=list(_TAGS)
            )
        except (pydicom_errors.InvalidDicomError, EOFError) as e:
            # A folder may hold a README; a file that was named must be DICOM.
            if path.is_dir() and file.suffix.lower() != ".dcm":
                continue
            raise VolumeError(f"{file} is cut off, damaged, or no DICOM: {e}") from e
        if "Rows" in header and "Columns" in header:
            yield file, header
        elif file == path:
            raise VolumeError(f"{path} is a DICOM file without an image.")


def _listed(by_series: dict[str, list[Any]]) -> str:
    lines = [
        f"\n  {uid}: {len(files)} files, {files[0][1].get('Modality', '?')} "
        f"{files[0][1].get('SeriesDescription', '')}".rstrip()
        for uid, files in sorted(by_series.items())
    ]
    return f" There are{''.join(lines)}"


def _slices_of(file: pathlib.Path, header: Any) -> list[Slice]:
    if "ModalityLUTSequence" in header:
        raise VolumeError(
            f"{file}: its values are the indices of a table (ModalityLUTSequence), which "
            "is not applied. Convert it with dcm2niix."
        )
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise VolumeError(f"{file}: its values are indices of a palette of colours.")
    frames = int(header.get("NumberOfFrames") or 1)
    offsets = header.get("GridFrameOffsetVector")
    found = []
    for frame in range(frames):
        position = _of_frame(header, frame, "PlanePosition", "ImagePositionPatient")
        rows = _of_frame(header, frame, "PlaneOrientation", "ImageOrientationPatient")
        spacing = _of_frame(header, frame, "PixelMeasures", "PixelSpacing")
        spacing = spacing or header.get("ImagerPixelSpacing") or [1, 1]
        slope = _of_frame(header, frame, "PixelValueTransformation", "RescaleSlope")
        summand = _of_frame(
            header, frame, "PixelValueTransformation", "RescaleIntercept"
        )
        if slope is None:
            slope = header.get("DoseGridScaling")
        directions = _directions(file, rows or [1, 0, 0, 0, 1, 0])
        point = None if position is None else np.array(position, np.float64)
        if point is not None and offsets is not None:
            step = float(offsets[frame]) - float(offsets[0])
            point = point + step * np.cross(*directions)
        found.append(
            Slice(
                path=file,
                frame=frame,
                header=header,
                position=point,
                rows=directions,
                spacing=np.array(spacing, np.float64),
                slope=float(1 if slope is None else slope),
                intercept=float(summand or 0),
            )
        )
    return found


def _directions(file: pathlib.Path, values: Any) -> np.ndarray:
    """Returns unit vectors along a row and a column, at right angles."""
    row, column = np.array(values, np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not all(0.9 < length < 1.1 for length in lengths):
        raise VolumeError(
            f"{file}: ImageOrientationPatient are two unit vectors: got "
            f"{row.tolist()} and {column.tolist()}."
        )
    row, column = row / lengths[0], column / lengths[1]
    if abs(row @ column) > 1e-2:
        raise VolumeError(
            f"{file}: the rows and columns of ImageOrientationPatient are not at right "
            f"angles: {row.tolist()} and {column.tolist()}."
        )
    # Numbers of four digits are at right angles to four digits.
    column = column - (row @ column) * row
    return np.stack([row, column / np.linalg.norm(column)])


def _of_frame(header: Any, frame: int, group: str, name: str) -> Any:
    """Returns a value of a frame: its own, that of all frames, or that of the file."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence")
    for groups in (per_frame and per_frame[frame], shared and shared[0]):
        sequence = groups.get(f"{group}Sequence") if groups else None
        if sequence and sequence[0].get(name) is not None:
            return sequence[0].get(name)
    return header.get(name)


def _check_alike(path: pathlib.Path, first: Slice, other: Slice) -> None:
    for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"):
        a, b = first.header.get(name), other.header.get(name)
        if a != b:
            raise VolumeError(
                f"{path}: the slices differ: {name} is {a} in {first.where}, and {b} in "
                f"{other.where}. Take the one that does not belong here out."
            )
    for name, a, b in (
        ("ImageOrientationPatient", first.rows, other.rows),
        ("PixelSpacing", first.spacing, other.spacing),
    ):
        if np.abs(a - b).max() > 1e-4:
            raise VolumeError(
                f"{path}: the slices differ: {name} is {a.ravel().tolist()} in "
                f"{first.where}, and {b.ravel().tolist()} in {other.where}. A localizer "
                "is not part of the volume: take it out."
            )


def _check_duplicates(
    path: pathlib.Path, slices: list[Slice], gaps: np.ndarray
) -> None:
    twice = np.flatnonzero(gaps < 1e-3)
    if not len(twice):
        return
    pairs = [f"{slices[i].where} and {slices[i + 1].where}" for i in twice]
    places = len(gaps) + 1 - len(twice)
    hint = "Take one of each out."
    if (len(gaps) + 1) % places == 0:
        hint += (
            f" If these are {(len(gaps) + 1) // places} volumes in one series (times, "
            "echoes), convert them with dcm2niix."
        )
    raise VolumeError(f"{path}: {_some(pairs)} are at the same place. {hint}")


def _unequal(
    path: pathlib.Path, slices: list[Slice], gaps: np.ndarray, tolerance: float
) -> VolumeError:
    multiples = gaps / gaps.min()
    if np.abs(multiples - multiples.round()).max() * gaps.min() <= tolerance:
        missing = [
            f"{int(multiples[i].round()) - 1} between {slices[i].where} and "
            f"{slices[i + 1].where}"
            for i in np.flatnonzero(multiples.round() > 1)
        ]
        return VolumeError(
            f"{path}: slices are missing, {_some(missing)}: the gaps are "
            f"{gaps.min():g} to {gaps.max():g} mm. Copy or export the series again."
        )
    i, j = int(gaps.argmin()), int(gaps.argmax())
    return VolumeError(
        f"{path}: the slices are not at equal distances: {gaps[i]:g} mm between "
        f"{slices[i].where} and {slices[i + 1].where}, {gaps[j]:g} mm between "
        f"{slices[j].where} and {slices[j + 1].where}. A volume has one spacing: "
        "resample it elsewhere, such as with dcm2niix."
    )


def _check_line(path: pathlib.Path, slices: list[Slice], tolerance: float) -> None:
    positions = np.array([s.position for s in slices])
    steps = np.linspace(0, 1, len(slices))[:, None]
    line = positions[0] + steps * (positions[-1] - positions[0])
    apart = np.linalg.norm(positions - line, axis=1)
    if apart.max() > tolerance * 5:
        raise VolumeError(
            f"{path}: the slices are shifted against each other: "
            f"{slices[int(apart.argmax())].where} is {apart.max():.3g} mm off the line "
            "from the first to the last one."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
