"""Writes DICOM series: derived CT images, of nobody."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kauldron.volumes.files import _packages
from kauldron.volumes.files.base import Info
from kauldron.volumes.geometry.base import Region

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


class SlicesWriter:
    """Keeps the volume; its files are written at the end."""

    def __init__(self, info: Info) -> None:
        self.array = np.zeros(info.array_shape, info.dtype)

    def write(self, region: Region, array: np.ndarray) -> None:
        self.array[region.slices] = array


@contextlib.contextmanager
def writing(folder: pathlib.Path, info: Info) -> Iterator[SlicesWriter]:
    """Yields a writer; the files are made when the block succeeds."""
    uid = _packages.load("pydicom.uid", "DICOM")
    writer = SlicesWriter(info)
    yield writer
    series = _series(info, uid)
    digits = len(str(info.shape[0]))
    for i, pixels in enumerate(writer.array):
        dataset = _slice(info, series, i, pixels, uid.generate_uid())
        dataset.save_as(
            folder / f"slice_{i + 1:0{digits}}.dcm", enforce_file_format=True
        )


def _series(info: Info, uid: Any) -> dict[str, Any]:
    """Returns what all slices share."""
    geometry = info.geometry
    step, y, x = geometry.direction.T
    z_spacing, y_spacing, x_spacing = geometry.spacing_mm
    along = abs(float(step @ np.cross(x, y))) * float(z_spacing)
    is_colour = info.num_channels == 3
    bits = info.dtype.itemsize * 8
    return {
        "SOPClassUID": _CT_IMAGE,
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "Modality": "CT",
        "PatientName": "",
        "PatientID": "",
        "StudyInstanceUID": uid.generate_uid(),
        "SeriesInstanceUID": uid.generate_uid(),
        "FrameOfReferenceUID": uid.generate_uid(),
        "SeriesNumber": 1,
        "ImageOrientationPatient": _decimals([*x, *y]),
        "PixelSpacing": _decimals([y_spacing, x_spacing]),
        "SliceThickness": _decimals([along])[0],
        "SpacingBetweenSlices": _decimals([along])[0],
        "Rows": info.shape[1],
        "Columns": info.shape[2],
        "SamplesPerPixel": info.num_channels,
        "PhotometricInterpretation": "RGB" if is_colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(info.dtype.kind == "i"),
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        **({"PlanarConfiguration": 0} if is_colour else {}),
    }


def _slice(
    info: Info, series: dict[str, Any], index: int, pixels: np.ndarray, uid: str
) -> Any:
    datasets = _packages.load("pydicom.dataset", "DICOM")
    dataset = datasets.Dataset()
    dataset.file_meta = datasets.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    for name, value in series.items():
        setattr(dataset, name, value)
    dataset.SOPInstanceUID = uid
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = _decimals(info.geometry.to_world((index, 0, 0)))
    little = np.ascontiguousarray(pixels, info.dtype.newbyteorder("<"))
    content = little.tobytes()
    dataset.PixelData = content + bytes(len(content) % 2)
    dataset["PixelData"].VR = "OB" if info.dtype.itemsize == 1 else "OW"
    return dataset


def _decimals(numbers: Any) -> list[Any]:
    """Returns numbers in the 16 characters that DICOM has for them."""
    values = _packages.load("pydicom.valuerep", "DICOM")
    return [values.DSfloat(float(number), auto_format=True) for number in numbers]
