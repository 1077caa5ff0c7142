"""MetaImage files: `.mha`, and `.mhd` with the values in a `.raw` beside it.

The header is read and written here: so regions are read and written as such, shear stays,
and nobody needs 260 MB of SimpleITK for ten lines of text.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import IO

import numpy as np
from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.files import _notes, _raw_writing
from kauldron.volumes.files._raw import RawValues
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.geometry.errors import VolumeError

_NAMES = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "int64": "MET_LONG_LONG",
    "uint64": "MET_ULONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
_DTYPES = {name: np.dtype(dtype) for dtype, name in _NAMES.items()} | {
    # Four bytes, whatever the C compiler says of `long`.
    "MET_LONG": np.dtype("int32"),
    "MET_ULONG": np.dtype("uint32"),
}
_SYNONYMS = {
    "Origin": "Offset",
    "Position": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
_MAX_HEADER = 1 << 16


@dataclasses.dataclass(frozen=True)
class MetaImage:
    """`.mha` and `.mhd`; channels are `ElementNumberOfChannels`."""

    name: str = "MetaImage"
    suffixes: tuple[str, ...] = (".mha", ".mhd")

    def open(self, path: pathlib.Path) -> MetaImageSource:
        return MetaImageSource(path)

    def refusal(self, info: Info) -> str | None:
        return None if info.dtype.name in _NAMES else f"MetaImage has no {info.dtype}."

    def create(
        self, path: pathlib.Path, info: Info
    ) -> contextlib.AbstractContextManager[RegionWriter]:
        if path.name.lower().endswith(".mhd"):
            return _creating_two_files(path, info)
        header = _header_of(info, "LOCAL")
        return _raw_writing.writing(header, _written_values(path, len(header), info))


@contextlib.contextmanager
def _creating_two_files(path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
    data_path = path.with_suffix(".raw")
    with shared_files.replacing(epath.Path(path)) as temporary:
        temporary.write_bytes(_header_of(info, data_path.name))
        with _raw_writing.writing(b"", _written_values(data_path, 0, info)) as writer:
            yield writer
            writer.finish()
            # Whoever reads now gets the old volume, or an error, but no mixture.
            path.unlink(missing_ok=True)


def _written_values(path: pathlib.Path, offset: int, info: Info) -> RawValues:
    return RawValues(
        path=path,
        offset=offset,
        dtype=info.dtype.newbyteorder("<"),
        axes="zyxc",
        shape=info.array_shape,
    )


class MetaImageSource:
    """A MetaImage file whose header has been read."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            fields = _fields(path, file)
            offset = file.tell()
        rank = int(_numbers(path, fields, "NDims", 1)[0])
        sizes = _numbers(path, fields, "DimSize", rank).astype(int).tolist()
        if not 2 <= rank <= 4 or min(sizes) < 1:
            raise VolumeError(f"{path}: the size {sizes} is no volume (x, y, z, time).")
        x, y, z, times = [*sizes, 1, 1][:4]
        components = int(fields.get("ElementNumberOfChannels", 1))
        if times > 1 and components > 1:
            raise VolumeError(
                f"{path} holds {times} times of {components} components; one of them can "
                "be channels."
            )
        dtype = _DTYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
        if dtype is None:
            raise VolumeError(
                f"{path}: there is no ElementType {fields['ElementType']!r}. Known are "
                f"{', '.join(_DTYPES)}."
            )
        is_big = fields.get("BinaryDataByteOrderMSB", "False").lower() == "true"
        is_packed = fields.get("CompressedData", "False").lower() == "true"
        self._values = RawValues(
            path=path,
            offset=offset,
            dtype=dtype.newbyteorder(">" if is_big else "<"),
            axes="czyx" if times > 1 else "zyxc",
            shape=(z, y, x, times * components),
            packing="zlib" if is_packed else "",
        )
        self._values = _located(path, fields, self._values)
        geometry, notes = _geometry(path, fields, rank)
        self.info = Info(
            shape=(z, y, x),
            num_channels=times * components,
            dtype=dtype,
            geometry=geometry,
            format="MetaImage",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        return self._values.read(region)


def _fields(path: pathlib.Path, file: IO[bytes]) -> dict[str, str]:
    """Returns the fields of a header; the file is then where its values may begin."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = file.readline(_MAX_HEADER)
        if not line or file.tell() > _MAX_HEADER:
            raise VolumeError(
                f"{path} is cut off, or no MetaImage file: `ElementDataFile = ...` ends a "
                "header, and there is none."
            )
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        if equals:  # values of SimpleITK's own fields may have several lines
            fields[_SYNONYMS.get(name.strip(), name.strip())] = value.strip()
    missing = {"NDims", "DimSize", "ElementType"} - set(fields)
    if missing:
        raise VolumeError(f"{path}: the header lacks {', '.join(sorted(missing))}.")
    return fields


def _numbers(
    path: pathlib.Path, fields: dict[str, str], name: str, count: int
) -> np.ndarray:
    try:
        numbers = np.array(fields[name].split(), np.float64)
    except ValueError:
        numbers = np.zeros(0)
    if numbers.shape != (count,):
        raise VolumeError(
            f"{path}: `{name}` must be {count} numbers: got {fields[name]!r}."
        )
    return numbers


def _geometry(
    path: pathlib.Path, fields: dict[str, str], rank: int
) -> tuple[Geometry, tuple[str, ...]]:
    notes: list[str] = []
    spacing, offset, rotation = np.ones(3), np.zeros(3), np.eye(3)
    used = min(rank, 3)
    for name in ("ElementSpacing", "ElementSize"):
        if name in fields:
            spacing[:used] = _numbers(path, fields, name, rank)[:used]
            break
    if "Offset" in fields:
        offset[:used] = _numbers(path, fields, "Offset", rank)[:used]
    else:
        notes.append(
            f"{_notes.NO_PLACEMENT}: the header has no `Offset`. The first voxel is put "
            "at the origin."
        )
    if "TransformMatrix" in fields:
        matrix = _numbers(path, fields, "TransformMatrix", rank * rank)
        rotation[:used, :used] = matrix.reshape(rank, rank)[:used, :used]
    if float(fields.get("ElementToIntensityFunctionSlope", 1)) != 1:
        notes.append(
            "Intensity: the header has an `ElementToIntensityFunctionSlope`, which is not "
            "applied, nor is it by SimpleITK."
        )
    # Each row of the file is the direction of an axis: x, y, z.
    return Geometry(matrix=(rotation.T * spacing)[:, ::-1], origin=offset), tuple(notes)


def _located(
    path: pathlib.Path, fields: dict[str, str], values: RawValues
) -> RawValues:
    """Returns where the values are, by `ElementDataFile` and `HeaderSize`."""
    name = fields["ElementDataFile"]
    if name.upper() != "LOCAL":
        if name.upper().startswith("LIST") or "%" in name:
            raise VolumeError(
                f"{path}: the values are in a file for each slice ({name!r}); join them "
                "with SimpleITK: `WriteImage(ReadImage(MHD), 'x.mha')`."
            )
        data_path = path.parent / name
        if not data_path.exists():
            raise VolumeError(
                f"{path}: there is no {data_path}, which holds the values. The two "
                "files belong together."
            )
        values = dataclasses.replace(values, path=data_path, offset=0)
    header_size = int(fields.get("HeaderSize", 0))
    if header_size == -1:  # the values are what is last in the file
        header_size = values.path.stat().st_size - values.num_bytes - values.offset
    return dataclasses.replace(values, offset=values.offset + max(header_size, 0))


def _header_of(info: Info, data_file: str) -> bytes:
    geometry = info.geometry
    direction = geometry.direction[:, ::-1]
    channels = f"ElementNumberOfChannels = {info.num_channels}\n"
    return (
        "ObjectType = Image\n"
        "NDims = 3\n"
        "BinaryData = True\n"
        "BinaryDataByteOrderMSB = False\n"
        "CompressedData = False\n"
        f"TransformMatrix = {_told(direction.T.ravel())}\n"
        f"Offset = {_told(geometry.origin)}\n"
        "CenterOfRotation = 0 0 0\n"
        "AnatomicalOrientation = RAI\n"
        f"ElementSpacing = {_told(geometry.spacing_mm[::-1])}\n"
        f"DimSize = {' '.join(map(str, info.shape[::-1]))}\n"
        f"{channels if info.num_channels > 1 else ''}"
        f"ElementType = {_NAMES[info.dtype.name]}\n"
        f"ElementDataFile = {data_file}\n"
    ).encode("ascii")


def _told(numbers: np.ndarray) -> str:
    return " ".join(repr(float(number)) for number in numbers)
