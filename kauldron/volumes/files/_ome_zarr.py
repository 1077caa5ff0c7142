"""OME-Zarr: chunks in a folder, in levels of resolution; versions 0.4 and 0.5 are read."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kauldron.volumes.files import (
    _dtypes,
    _folders,
    _ome_metadata,
    _ome_writing,
    _packages,
)
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True)
class OmeZarr:
    """`.ome.zarr` and `.zarr`; `x.ome.zarr/1` is a level, the first unless said.

    The geometry is written as scale and translation, and as matrix and origin in an
    attribute of ours: OME-Zarr 0.5 knows of no directions.
    """

    name: str = "OME-Zarr"
    suffixes: tuple[str, ...] = (".ome.zarr", ".zarr")

    def open(self, path: pathlib.Path) -> OmeZarrSource:
        return OmeZarrSource(*_folders.split(path, self.suffixes))

    def refusal(self, info: Info) -> str | None:
        return None if info.dtype in _dtypes.ALL else f"OME-Zarr has no {info.dtype}."

    @contextlib.contextmanager
    def create(self, path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
        if _folders.split(path, self.suffixes)[1]:
            raise VolumeError(
                f"{path}: a level cannot be written alone; write the volume, and its "
                "levels are made."
            )
        with (
            _folders.replacing(path) as folder,
            _ome_writing.writing(folder, info) as writer,
        ):
            yield writer


class OmeZarrSource:
    """A level of an OME-Zarr folder."""

    def __init__(self, path: pathlib.Path, inner: str) -> None:
        zarr = _packages.load("zarr", "OME-Zarr")
        path.stat()  # missing folders are told as everywhere
        self._path = path
        try:
            group = zarr.open_group(path, mode="r")
        except (ValueError, OSError) as e:
            raise VolumeError(
                f"{path} is damaged, or no OME-Zarr: {e}. Copy or download it again."
            ) from e
        attributes = dict(group.attrs)
        multiscale = _ome_metadata.multiscale_of(path, attributes)
        level = _ome_metadata.level_of(path, multiscale, inner)
        try:
            self._array: Any = group[level]
        except KeyError as e:
            raise VolumeError(
                f"{path} is cut off or damaged: there is no array {level!r}, which its "
                "metadata name."
            ) from e
        self._axes = _ome_metadata.axes_of(path, multiscale, self._array.shape)
        sizes = dict(zip(self._axes, self._array.shape, strict=True))
        z, y, x, c = (int(sizes.get(axis, 1)) for axis in "zyxc")
        dtype = self._array.dtype.newbyteorder("=")
        if dtype not in _dtypes.ALL:
            raise VolumeError(f"{path} holds {dtype}, which no volume can be.")
        geometry, notes = _ome_metadata.geometry_of(path, attributes, multiscale, level)
        self._is_ours = "kauldron" in attributes
        self.info = Info(
            shape=(z, y, x),
            num_channels=c,
            dtype=dtype,
            geometry=geometry,
            format="OME-Zarr",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        slices = dict(zip("zyx", region.slices, strict=True))
        # One of the axes of times and channels has the size 1, and is called `-`.
        selection = tuple(slices.get(axis, slice(None)) for axis in self._axes)
        if self._is_ours:
            self._check_chunks(selection)
        try:
            array = np.asarray(self._array[selection])
        except (ValueError, RuntimeError, OSError) as e:
            raise VolumeError(
                f"{self._path} is cut off or damaged: {e}. Copy or download it again."
            ) from e
        array = array.reshape(
            [n for n, a in zip(array.shape, self._axes, strict=True) if a != "-"]
        )
        axes = [axis for axis in self._axes if axis != "-"]
        array = array.transpose([axes.index(axis) for axis in "zyxc" if axis in axes])
        array = array.reshape(*region.shape, self.info.num_channels)
        return np.ascontiguousarray(array, self.info.dtype)

    def _check_chunks(self, selection: tuple[slice, ...]) -> None:
        """Makes sure that chunks are there: zarr reads missing ones as zeros."""
        ranges = [
            range((s.start or 0) // size, -(-(s.stop or n) // size))
            for s, size, n in zip(
                selection, self._array.chunks, self._array.shape, strict=True
            )
        ]
        for index in np.ndindex(*(len(r) for r in ranges)):
            chunk = tuple(r[i] for r, i in zip(ranges, index, strict=True))
            name = self._array.metadata.encode_chunk_key(chunk)
            if not (self._path / self._array.path / name).exists():
                raise VolumeError(
                    f"{self._path} is cut off or damaged: the chunk {name} of "
                    f"{self._array.path!r} is missing. Copy or download it again."
                )
