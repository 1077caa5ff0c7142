"""Writes OME-Zarr 0.5: the volume by region, then coarser levels of it."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from kauldron.volumes.files import _ome_metadata, _packages
from kauldron.volumes.files.base import Info
from kauldron.volumes.geometry.base import Region

_CHUNK = 64
_COARSE_ENOUGH = 64


@contextlib.contextmanager
def writing(folder: pathlib.Path, info: Info) -> Iterator[OmeZarrWriter]:
    """Yields the writer of a folder; the levels are made when the block succeeds."""
    zarr = _packages.load("zarr", "OME-Zarr")
    factors = _factors(info)
    group = zarr.open_group(
        folder,
        mode="w",
        zarr_format=3,
        attributes=_ome_metadata.make(info.geometry, _starts(factors, info.dtype)),
    )
    finest = _make_array(group, "0", info.array_shape, info.dtype)
    yield OmeZarrWriter(finest)
    previous = finest
    for i in range(1, len(factors)):
        step = factors[i] // factors[i - 1]
        shape = [-(-n // s) for n, s in zip(previous.shape[1:], step, strict=True)]
        level = _make_array(group, str(i), (*shape, info.num_channels), info.dtype)
        _shrink(previous, level, step)
        previous = level


class OmeZarrWriter:
    """Writes regions of the finest level."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def write(self, region: Region, array: np.ndarray) -> None:
        self._array[(slice(None), *region.slices)] = np.moveaxis(array, -1, 0)


def _factors(info: Info) -> list[np.ndarray]:
    """Returns how much larger voxels are in each level; nearly cubes come first."""
    shape, spacing = np.array(info.shape), info.geometry.spacing_mm
    factors = [np.ones(3, int)]
    while np.ceil(shape / factors[-1]).max() > _COARSE_ENOUGH:
        sizes = np.ceil(shape / factors[-1])
        lengths = spacing * factors[-1]
        can = sizes > 1
        # What is coarse already waits for the other axes.
        grows = can & (lengths < 2 * lengths[can].min())
        factors.append(factors[-1] * np.where(grows, 2, 1))
    return factors


def _starts(
    factors: list[np.ndarray], dtype: np.dtype
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns factor and first index of each level: averages lie between voxels."""
    is_mean = dtype.kind == "f"
    return [(f, (f - 1) / 2 if is_mean else np.zeros(3)) for f in factors]


def _make_array(group: Any, name: str, shape: Any, dtype: np.dtype) -> Any:
    z, y, x, c = (int(size) for size in shape)
    return group.create_array(
        name,
        shape=(c, z, y, x),
        dtype=dtype,
        chunks=(1, *(min(_CHUNK, size) for size in (z, y, x))),
        dimension_names=("c", "z", "y", "x"),
        # All are written, so that one that is missing later is found to be lost.
        config={"write_empty_chunks": True},
    )


def _shrink(fine: Any, coarse: Any, step: np.ndarray) -> None:
    """Fills a level, slab by slab.

    Floats are averaged. Of integers every second is taken: they may be labels.
    """
    _, depth, height, width = coarse.shape
    for start in range(0, depth, _CHUNK):
        stop = min(start + _CHUNK, depth)
        slab = fine[:, start * step[0] : stop * step[0]]
        if slab.dtype.kind == "f":
            wanted = np.array([stop - start, height, width]) * step
            missing = wanted - slab.shape[1:]
            slab = np.pad(slab, [(0, 0), *((0, int(m)) for m in missing)], mode="edge")
            a, b, c = (int(s) for s in step)
            blocks = slab.reshape(
                slab.shape[0], stop - start, a, height, b, width, c
            ).astype(np.float64)
            slab = blocks.mean((2, 4, 6)).astype(slab.dtype)
        else:
            slab = slab[:, :: step[0], :: step[1], :: step[2]]
        coarse[:, start:stop] = slab
