"""NPY files: arrays as NumPy saves them, with the geometry in `x.npy.json`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator

import numpy as np

from kauldron.volumes.files import _dtypes, _raw_writing, _sidecars
from kauldron.volumes.files._raw import RawValues
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True)
class Npy:
    """`.npy`: `[z y x]` or `[z y x c]`; any dtype of a volume."""

    name: str = "NPY"
    suffixes: tuple[str, ...] = (".npy",)

    def open(self, path: pathlib.Path) -> NpySource:
        return NpySource(path)

    def refusal(self, info: Info) -> str | None:
        return None if info.dtype in _dtypes.ALL else f"NPY has no {info.dtype}."

    @contextlib.contextmanager
    def create(self, path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
        shape = info.array_shape if info.num_channels > 1 else info.shape
        dtype = info.dtype.newbyteorder("<")
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        content = header.getvalue()
        values = RawValues(
            path=path,
            offset=len(content),
            dtype=dtype,
            axes="zyxc",
            shape=info.array_shape,
        )
        with _raw_writing.writing(content, values) as writer:
            yield writer
            writer.finish()
            _sidecars.replace(path, info.geometry)


class NpySource:
    """An NPY file whose header has been read."""

    def __init__(self, path: pathlib.Path) -> None:
        with open(path, "rb") as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, is_fortran, dtype = read(file)
            except (ValueError, KeyError) as e:
                raise VolumeError(f"{path} is no NPY file, or is damaged: {e}") from e
            offset = file.tell()
        if dtype.newbyteorder("=") not in _dtypes.ALL or len(shape) not in (3, 4):
            raise VolumeError(
                f"{path} holds {dtype}{list(shape)}: a volume is [z y x] or [z y x c], "
                "with integers, floats or bools."
            )
        z, y, x, c = (*shape, 1)[:4]
        self._values = RawValues(
            path=path,
            offset=offset,
            dtype=dtype,
            axes="cxyz" if is_fortran else "zyxc",
            shape=(z, y, x, c),
        )
        geometry, notes = _sidecars.read(path)
        self.info = Info(
            shape=(z, y, x),
            num_channels=c,
            dtype=dtype.newbyteorder("="),
            geometry=geometry,
            format="NPY",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        return self._values.read(region)
