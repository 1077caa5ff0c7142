"""NRRD files: `.nrrd`, and `.nhdr` with the values in another file.

The header is read and written here, for the reasons that `_metaimage` tells.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from typing import IO

import numpy as np

from kauldron.volumes.files import _notes, _raw_writing
from kauldron.volumes.files._raw import RawValues
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.geometry.errors import VolumeError

_NAMES = {
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float",
    "float64": "double",
}
_TYPES = {name: np.dtype(dtype) for dtype, name in _NAMES.items()}
# What the specification allows, too.
for _bits, _word in ((8, "char"), (16, "short"), (32, "int"), (64, "long long")):
    for _spelling in (_word, f"signed {_word}", f"{_word} int", f"signed {_word} int"):
        _TYPES[_spelling] = np.dtype(f"int{_bits}")
    for _spelling in (f"unsigned {_word}", f"unsigned {_word} int"):
        _TYPES[_spelling] = np.dtype(f"uint{_bits}")
    _TYPES[f"int{_bits}_t"] = np.dtype(f"int{_bits}")
    _TYPES[f"uint{_bits}_t"] = np.dtype(f"uint{_bits}")
_TYPES |= {"uchar": np.dtype("u1"), "ushort": np.dtype("u2"), "uint": np.dtype("u4")}
_TYPES |= {"longlong": np.dtype("i8"), "ulonglong": np.dtype("u8")}

_PACKINGS = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bz2", "bz2": "bz2"}
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_MM_OF_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "microns": 1e-3}
_MAX_LINE = 1 << 16
_MAX_LINES = 10_000


@dataclasses.dataclass(frozen=True)
class Nrrd:
    """`.nrrd` and `.nhdr`; one axis that is not of space is the channels."""

    name: str = "NRRD"
    suffixes: tuple[str, ...] = (".nrrd", ".nhdr")

    def open(self, path: pathlib.Path) -> NrrdSource:
        return NrrdSource(path)

    def refusal(self, info: Info) -> str | None:
        return None if info.dtype.name in _NAMES else f"NRRD has no {info.dtype}."

    def create(
        self, path: pathlib.Path, info: Info
    ) -> contextlib.AbstractContextManager[RegionWriter]:
        if path.name.lower().endswith(".nhdr"):
            raise VolumeError(
                f"{path}: write `.nrrd`, which is one file; `.nhdr` can be read only."
            )
        header = _header_of(info)
        values = RawValues(
            path=path,
            offset=len(header),
            dtype=info.dtype.newbyteorder("<"),
            axes="zyxc",
            shape=info.array_shape,
        )
        return _raw_writing.writing(header, values)


class NrrdSource:
    """A NRRD file whose header has been read."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            fields = _fields(path, file)
            offset = file.tell()
        sizes = [int(size) for size in fields["sizes"].split()]
        directions = _directions(path, fields, len(sizes))
        axes = _axes(path, fields, directions, sizes)
        by_name = dict(zip(axes, sizes, strict=True))
        shape = (by_name["z"], by_name["y"], by_name["x"])
        # The file counts axes from the fastest one.
        stored = axes[::-1] if "c" in axes else f"{axes[::-1]}c"
        self._values = _located(
            path,
            fields,
            RawValues(
                path=path,
                offset=offset,
                dtype=_dtype(path, fields),
                axes=stored,
                shape=(*shape, by_name.get("c", 1)),
                packing=_PACKINGS[fields["encoding"]],
            ),
        )
        geometry, notes = _geometry(path, fields, directions, axes)
        self.info = Info(
            shape=shape,
            num_channels=by_name.get("c", 1),
            dtype=self._values.dtype.newbyteorder("="),
            geometry=geometry,
            format="NRRD",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        return self._values.read(region)


def _fields(path: pathlib.Path, file: IO[bytes]) -> dict[str, str]:
    """Returns the fields of a header; the file is then where its values may begin."""
    if not file.readline(_MAX_LINE).startswith(b"NRRD"):
        raise VolumeError(f"{path} is no NRRD file: it does not begin with `NRRD`.")
    fields: dict[str, str] = {}
    for _ in range(_MAX_LINES):
        line = file.readline(_MAX_LINE)
        text = line.decode("utf-8", "replace").strip()
        if not text:  # an empty line, or the end of a header without values
            break
        # `key:=value` are notes of whoever wrote the file.
        name, colon, value = text.partition(": ")
        if colon and not text.startswith("#") and ":=" not in name:
            fields[name.strip().lower().replace("datafile", "data file")] = (
                value.strip()
            )
    missing = {"type", "dimension", "sizes", "encoding"} - set(fields)
    if missing:
        raise VolumeError(
            f"{path} is cut off, or no NRRD file: the header lacks "
            f"{', '.join(sorted(missing))}."
        )
    fields["encoding"] = fields["encoding"].lower()
    if fields["encoding"] not in _PACKINGS:
        raise VolumeError(
            f"{path}: the encoding {fields['encoding']!r} cannot be read; raw, gzip and "
            "bzip2 can. SimpleITK may: `WriteImage(ReadImage(FILE), 'x.nrrd')`."
        )
    return fields


def _dtype(path: pathlib.Path, fields: dict[str, str]) -> np.dtype:
    dtype = _TYPES.get(fields["type"].lower())
    if dtype is None:
        raise VolumeError(f"{path} holds {fields['type']!r}, which no volume can be.")
    is_big = fields.get("endian", "little").lower() == "big"
    return dtype.newbyteorder(">" if is_big else "<")


def _directions(
    path: pathlib.Path, fields: dict[str, str], rank: int
) -> list[np.ndarray | None]:
    """Returns the step in space along each axis, or None, where there is none."""
    if "space directions" in fields:
        found = [
            None if text == "none" else _vector(text)
            for text in re.findall(r"none|\([^)]*\)", fields["space directions"])
        ]
        # Of axes of time, which SimpleITK counts among the axes of space.
        found = [None if d is None or np.isnan(d).any() else d for d in found]
        if len(found) != rank:
            raise VolumeError(
                f"{path}: `space directions` must be of {rank} axes: got "
                f"{fields['space directions']!r}."
            )
        return found
    kinds = fields.get("kinds", "").split() or ["domain"] * rank
    spacings = [float(s) for s in fields.get("spacings", "").split()] or [1.0] * rank
    found = []
    for kind, spacing in zip(kinds, spacings, strict=True):
        axis = sum(direction is not None for direction in found)
        is_space = kind in ("domain", "space", "???") and axis < 3
        step = spacing if np.isfinite(spacing) else 1.0
        found.append(np.eye(3)[axis] * step if is_space else None)
    return found


def _vector(text: str) -> np.ndarray:
    return np.array([float(number) for number in text.strip("()").split(",")])


def _axes(
    path: pathlib.Path,
    fields: dict[str, str],
    directions: list[np.ndarray | None],
    sizes: list[int],
) -> str:
    """Returns the names of the axes, the fastest first: `'xyz'`, `'cxyz'`, `'xyzc'`."""
    names = ""
    for direction in directions:
        num_space = len(names.replace("c", ""))
        names += "c" if direction is None or num_space == 3 else "xyz"[num_space]
    if names in ("xy", "xyc", "cxy"):
        sizes.append(1)
        directions.append(None)
        return f"{names}z"
    if sorted(names) not in (list("xyz"), list("cxyz")) or min(sizes) < 1:
        raise VolumeError(
            f"{path}: sizes {fields['sizes']!r} with the kinds {fields.get('kinds')!r} "
            "are no volume: three axes of space, and one of channels at most."
        )
    return names


def _geometry(
    path: pathlib.Path,
    fields: dict[str, str],
    directions: list[np.ndarray | None],
    axes: str,
) -> tuple[Geometry, tuple[str, ...]]:
    notes: list[str] = []
    matrix, origin = np.eye(3), np.zeros(3)
    for name, direction in zip(axes, directions, strict=True):
        if name != "c" and direction is not None:
            rank = min(len(direction), 3)
            matrix[:, "xyz".index(name)] = 0
            matrix[:rank, "xyz".index(name)] = direction[:rank]
    if "space directions" not in fields or "space origin" not in fields:
        notes.append(
            f"{_notes.NO_PLACEMENT}: the header has no `space directions` and `space "
            "origin`. The first voxel is put at the origin."
        )
    if "space origin" in fields:
        found = _vector(fields["space origin"])[:3]
        origin[: len(found)] = found
    space = fields.get("space", "").lower().removesuffix("-time")
    signs = np.array(_TO_LPS.get(space, (1, 1, 1)), np.float64)
    if "space directions" in fields and space not in _TO_LPS:
        notes.append(
            f"World: {space or 'no space'!r} does not say where left and front are. The "
            "axes are taken as LPS, as by SimpleITK."
        )
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"", "mm"}
    for unit in units:
        factor = _MM_OF_UNIT.get(unit.lower())
        if factor is None or len(units) > 1:
            raise VolumeError(f"{path}: what are `space units` {sorted(units)}?")
        notes.append(
            f"Unit: lengths are in {unit}, and converted to mm; SimpleITK takes them as mm."
        )
        signs *= factor
    matrix = (matrix * signs[:, None])[:, ::-1]
    return Geometry(matrix=matrix, origin=origin * signs), tuple(notes)


def _located(
    path: pathlib.Path, fields: dict[str, str], values: RawValues
) -> RawValues:
    """Returns where the values are, by `data file`, `line skip` and `byte skip`."""
    name = fields.get("data file")
    if name:
        if name.startswith("LIST") or "%" in name:
            raise VolumeError(
                f"{path}: the values are in several files ({name!r}); join them with "
                "SimpleITK: `WriteImage(ReadImage(NHDR), 'x.nrrd')`."
            )
        data_path = path.parent / name
        if not data_path.exists():
            raise VolumeError(
                f"{path}: there is no {data_path}, which holds the values. The two "
                "files belong together."
            )
        values = dataclasses.replace(values, path=data_path, offset=0)
    lines, skip = int(fields.get("line skip", 0)), int(fields.get("byte skip", 0))
    offset = values.offset
    if lines:
        with open(values.path, "rb") as file:
            file.seek(offset)
            for _ in range(lines):
                file.readline(_MAX_LINE)
            offset = file.tell()
    if values.packing and skip:
        raise VolumeError(f"{path}: `byte skip` of packed values cannot be read.")
    if skip == -1:  # the values are what is last in the file
        offset, skip = values.path.stat().st_size - values.num_bytes, 0
    return dataclasses.replace(values, offset=max(offset + skip, 0))


def _header_of(info: Info) -> bytes:
    geometry = info.geometry
    steps = [_told(step) for step in geometry.matrix.T[::-1]]
    sizes, kinds = [str(size) for size in info.shape[::-1]], ["domain"] * 3
    if info.num_channels > 1:
        steps.insert(0, "none")
        sizes.insert(0, str(info.num_channels))
        kinds.insert(0, "vector")
    return (
        "NRRD0004\n"
        f"type: {_NAMES[info.dtype.name]}\n"
        f"dimension: {len(sizes)}\n"
        "space: left-posterior-superior\n"
        f"sizes: {' '.join(sizes)}\n"
        f"space directions: {' '.join(steps)}\n"
        f"kinds: {' '.join(kinds)}\n"
        "endian: little\n"
        "encoding: raw\n"
        f"space origin: {_told(geometry.origin)}\n\n"
    ).encode("ascii")


def _told(numbers: np.ndarray) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"
