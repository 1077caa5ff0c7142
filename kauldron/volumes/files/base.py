"""What a format of volume files does: opens files, and creates them region by region."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any, Protocol

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

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold; columns of `direction` belong to (z, y, x)."""
        return {
            "format": self.format,
            "shape": list(self.shape),
            "num_channels": self.num_channels,
            "dtype": self.dtype.name,
            "spacing_mm": self.geometry.spacing_mm.tolist(),
            "origin_mm": self.geometry.origin.tolist(),
            "direction": self.geometry.direction.tolist(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        x, y, z = self.geometry.direction.round(4).tolist()
        channels = "channel" if self.num_channels == 1 else "channels"
        lines = [
            f"format      {self.format}",
            f"shape       {_told(self.shape)}  (z, y, x), {self.num_channels} {channels} of "
            f"{self.dtype}",
            f"spacing_mm  {_told(self.geometry.spacing_mm)}  (z, y, x)",
            f"origin_mm   {_told(self.geometry.origin)}  (x, y, z), to the left, back, head",
            f"direction   {_told(x)}  columns are those of z, y, x",
            f"            {_told(y)}",
            f"            {_told(z)}",
            *(f"note        {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def _told(numbers: Iterable[float]) -> str:
    return f"({', '.join(f'{float(n) + 0.0:.7g}' for n in numbers)})"


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
