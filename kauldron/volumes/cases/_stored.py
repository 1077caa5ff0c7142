"""Stored volumes: what the files room offers, for .npy files."""

from __future__ import annotations

import dataclasses

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Info:
    shape: Shape
    num_channels: int
    dtype: np.dtype
    geometry: Geometry
    format: str = ""
    notes: tuple[str, ...] = ()


def _open(path: str) -> np.ndarray:
    try:
        return Image(np.load(path, mmap_mode="r")).array
    except ValueError as error:
        raise VolumeError(f"{path!r} cannot be read: {error}") from error


def info(path: str) -> Info:
    array = _open(path)
    z, y, x, c = array.shape
    return Info(
        shape=(z, y, x),
        num_channels=c,
        dtype=array.dtype,
        geometry=Geometry.make(),
        format="NPY",
    )


def read(path: str, *, region: Region | None = None) -> Image:
    array = _open(path)
    region = Region.whole(array.shape) if region is None else region
    return Image(np.array(array[region.slices]), Geometry.make().moved(region.start))
