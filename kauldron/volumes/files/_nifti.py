"""NIfTI-1 and NIfTI-2 files, packed or not."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import pathlib
from typing import Any

import numpy as np

from kauldron.volumes.files import (
    _dtypes,
    _nifti_exact,
    _nifti_placement,
    _packages,
    _raw_writing,
)
from kauldron.volumes.files._raw import RawValues
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Region, Shape
from kauldron.volumes.geometry.errors import VolumeError

_WRITTEN = _dtypes.INTEGERS | _dtypes.named("float32 float64")
_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}
_NIFTI_1_MAX = 32767
_MAX_EXTENSIONS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Nifti:
    """`.nii` and `.nii.gz`.

    Times, and components of vectors, are read as channels. Channels are written as times,
    which is the fourth axis.
    """

    name: str = "NIfTI"
    suffixes: tuple[str, ...] = (".nii.gz", ".nii")

    def open(self, path: pathlib.Path) -> NiftiSource:
        return NiftiSource(path)

    def refusal(self, info: Info) -> str | None:
        if info.dtype not in _WRITTEN:
            return f"NIfTI has no {info.dtype}."
        return None

    def create(
        self, path: pathlib.Path, info: Info
    ) -> contextlib.AbstractContextManager[RegionWriter]:
        content = _header_of(info)
        values = RawValues(
            path=path,
            offset=len(content),
            dtype=info.dtype.newbyteorder("<"),
            axes="czyx",
            shape=info.array_shape,
            packing="gzip" if path.name.lower().endswith(".gz") else "",
            packs_header=True,
        )
        return _raw_writing.writing(content, values)


class NiftiSource:
    """A NIfTI file whose header has been read."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        header, content = _read_header(path, is_packed)
        shape, num_channels, notes = _shape(path, header)
        dtype, axes = _dtype(path, header), "czyx"
        if dtype.names:  # colours: bytes that lie together
            if num_channels > 1:
                raise VolumeError(
                    f"{path} holds {num_channels} volumes of colours; one can be read."
                )
            num_channels, dtype, axes = len(dtype.names), dtype[0], "zyxc"
        affine, placement_notes = _nifti_placement.placement(path, header, shape)
        if header["sform_code"]:
            affine = _nifti_exact.decode(content, header.endianness, affine)
        self._slope, self._intercept = _scaling(header)
        self._values = RawValues(
            path=path,
            offset=_offset(header),
            dtype=dtype,
            axes=axes,
            shape=(*shape, num_channels),
            packing="gzip" if is_packed else "",
            packs_header=True,
        )
        self.info = Info(
            shape=shape,
            num_channels=num_channels,
            dtype=_dtypes.scaled(dtype, self._slope, self._intercept),
            geometry=_nifti_placement.geometry_of(affine),
            format="NIfTI",
            notes=(*placement_notes, *notes, *self._scaling_note(dtype)),
        )

    def read(self, region: Region) -> np.ndarray:
        array = self._values.read(region)
        return _dtypes.scale(array, self._slope, self._intercept, self.info.dtype)

    def _scaling_note(self, dtype: np.dtype) -> tuple[str, ...]:
        if dtype.kind == "f" or self._slope.is_integer():
            return ()
        return (
            f"Scaled: the values are {dtype.newbyteorder('=')} times {self._slope:g}. "
            "Labels that were saved like this are no whole numbers any more.",
        )


def _dtype(path: pathlib.Path, header: Any) -> np.dtype:
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except KeyError:
        raise VolumeError(
            f"{path}: there is no datatype with the code {code}."
        ) from None
    if not dtype.names and dtype.newbyteorder("=") not in _dtypes.ALL:
        raise VolumeError(f"{path} holds {dtype}, which no volume can be.")
    return dtype


def _offset(header: Any) -> int:
    return int(header["vox_offset"]) or int(header["sizeof_hdr"]) + 4


def _read_header(path: pathlib.Path, is_packed: bool) -> tuple[Any, bytes]:
    """Returns the header, and what is between it and the values."""
    nifti = _packages.load("nibabel.nifti1", "NIfTI")
    nifti_2 = _packages.load("nibabel.nifti2", "NIfTI")
    with gzip.open(path) if is_packed else open(path, "rb") as file:
        start = file.read(4)
        sizes = [int.from_bytes(start, order) for order in ("little", "big")]
        size = next((size for size in sizes if size in _SIZES), None)
        if size is None:
            raise VolumeError(f"{path} is no NIfTI file: it begins with {start!r}.")
        content = start + file.read(size - 4)
        if len(content) < size:
            raise VolumeError(
                f"{path} is cut off: {len(content)} bytes, and a NIfTI header has {size}. "
                "Copy or download it again."
            )
        kind = nifti.Nifti1Header if size == 348 else nifti_2.Nifti2Header
        # Unchecked: nibabel's check turns a spacing of 0 into 1.
        header = kind(content, "<" if sizes[0] == size else ">", check=False)
        if bytes(header["magic"].item())[:2] == b"ni":
            raise VolumeError(
                f"{path} is the header of a pair (.hdr and .img): join them, such as "
                "with `nibabel.save(nibabel.load(HDR), 'x.nii.gz')`."
            )
        between = file.read(min(max(_offset(header) - size, 0), _MAX_EXTENSIONS))
    return header, between


def _shape(path: pathlib.Path, header: Any) -> tuple[Shape, int, tuple[str, ...]]:
    rank = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : rank + 1]]
    if not 1 <= rank <= 7 or min(sizes) < 1 or any(s > 1 for s in sizes[5:]):
        raise VolumeError(
            f"{path}: the shape {tuple(sizes)} is no volume with times and components "
            "of vectors, (x, y, z, time, component)."
        )
    x, y, z, times, components = [*sizes, *[1] * 5][:5]
    notes = ()
    if times > 1 and components > 1:
        notes = (
            f"Channels: {times} times of {components} components; channel is component "
            f"* {times} + time.",
        )
    return (z, y, x), times * components, notes


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (slope, intercept)


def _header_of(info: Info) -> bytes:
    is_large = max(*info.shape, info.num_channels) > _NIFTI_1_MAX
    module = "nibabel.nifti2" if is_large else "nibabel.nifti1"
    nifti = _packages.load(module, "NIfTI")
    header = (nifti.Nifti2Header if is_large else nifti.Nifti1Header)(endianness="<")
    shape = info.shape[::-1]
    if info.num_channels > 1:
        shape += (info.num_channels,)
    header.set_data_shape(shape)
    header.set_data_dtype(info.dtype)
    affine = _nifti_placement.affine_of(info.geometry)
    header.set_zooms((*info.geometry.spacing_mm[::-1], *[1.0] * (len(shape) - 3)))
    header.set_xyzt_units("mm")
    # The qform cannot hold shear, and is left out then: two that differ are a trap.
    if not info.geometry.is_sheared:
        header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = b"n+2" if is_large else b"n+1"
    extensions = _nifti_exact.encode(info.geometry)
    header["vox_offset"] = int(header["sizeof_hdr"]) + len(extensions)
    return header.binaryblock + extensions
