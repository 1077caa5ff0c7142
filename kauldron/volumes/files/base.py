"""What a format of volume files does: opens files, and creates them region by region."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import Protocol

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Region, Shape


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Info:
    """What a volume file holds, known from its header.

    Attributes:
      shape: Number of voxels along (z, y, x).
      num_channels: Times, components of vectors, or colours.
      dtype: Of the values that are read, after the scaling that the file asks for.
      geometry: Where the voxels are.
      format: Name of the format, such as `'NIfTI'`.
      notes: What programs read differently, or what is not in the file. Each note begins
        with its kind and a colon.
    """

    shape: Shape
    num_channels: int
    dtype: np.dtype
    geometry: Geometry
    format: str = ""
    notes: tuple[str, ...] = ()

    @property
    def array_shape(self) -> tuple[int, int, int, int]:
        """`(z, y, x, c)`."""
        return *self.shape, self.num_channels


class Source(Protocol):
    """A volume file whose header has been read."""

    @property
    def info(self) -> Info:
        """What is in the file."""
        ...

    def read(self, region: Region) -> np.ndarray:
        """Returns a part of the array, `[z y x c]`, with `info.dtype`."""
        ...


class RegionWriter(Protocol):
    """A volume file that is being written."""

    def write(self, region: Region, array: np.ndarray) -> None:
        """Writes a part, `[z y x c]`; voxels that nobody writes are 0."""
        ...


class Format(Protocol):
    """A format of volume files.

    Attributes:
      name: As people call it.
      suffixes: Of its files, with the dot; the first one is the usual one.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def open(self, path: pathlib.Path) -> Source:
        """Reads the header of a file."""
        ...

    def refusal(self, info: Info) -> str | None:
        """Returns why such a volume cannot be in a file, or None if it can."""
        ...

    def create(
        self, path: pathlib.Path, info: Info
    ) -> contextlib.AbstractContextManager[RegionWriter]:
        """Begins a file that `refusal` allows; it appears when the block succeeds."""
        ...
