"""Where the voxels of an array lie in the world, and arrays that know it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from kauldron.volumes.geometry import _numbers
from kauldron.volumes.geometry.errors import VolumeError

Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Geometry:
    """Leads from voxels to the world: `point = matrix @ index + origin`.

    Indices are in the order of the array, `(z, y, x)`, and mean centres of voxels. Points
    are `(x, y, z)` in LPS millimetres: x grows to the left of the patient, y to the back,
    z to the head.

    Attributes:
      matrix: `f64[3 3]`, the columns of which are the steps along z, y and x, in mm.
        Shear is kept.
      origin: `f64[3]`, the point of voxel `(0, 0, 0)`.

    Raises:
      VolumeError: If a number is not finite, or the matrix has no inverse, such as with a
        spacing of 0.
    """

    matrix: np.ndarray
    origin: np.ndarray

    def __post_init__(self) -> None:
        matrix = _numbers.frozen("matrix", self.matrix, (3, 3))
        origin = _numbers.frozen("origin", self.origin, (3,))
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "origin", origin)
        spacing = np.linalg.norm(matrix, axis=0)
        if not spacing.all():
            raise VolumeError(
                f"The spacing is {_numbers.told(spacing)} mm along (z, y, x): a voxel "
                "has a size along every axis."
            )
        if abs(np.linalg.det(matrix / spacing)) < 1e-6:
            raise VolumeError(
                "The axes of the volume lie in one plane: the directions of (z, y, x) "
                f"are the columns of\n{matrix / spacing}"
            )

    @classmethod
    def make(
        cls,
        spacing_mm: float | Sequence[float] = 1.0,
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
        direction: Any = None,
    ) -> Self:
        """Returns the geometry of axes that are at right angles, or of a direction.

        Args:
          spacing_mm: Along (z, y, x), or one number for all.
          origin_mm: Point of the first voxel, (x, y, z).
          direction: `f[3 3]`; its columns are the directions of (z, y, x). Along the
            axes of the world unless given.
        """
        given = _numbers.floats("`spacing_mm`", spacing_mm)
        if given.shape not in ((), (1,), (3,)):
            raise VolumeError(
                "`spacing_mm` is one number or three along (z, y, x): got "
                f"{spacing_mm!r}."
            )
        spacing = np.broadcast_to(given, (3,))
        if not (spacing > 0).all():
            raise VolumeError(
                f"A spacing is above 0 mm: got {_numbers.told(spacing)} along (z, y, x)."
            )
        if direction is None:
            direction = np.eye(3)[:, ::-1]
        return cls(
            matrix=_numbers.floats("`direction`", direction) * spacing,
            origin=_numbers.floats("`origin_mm`", origin_mm),
        )

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance of neighbours along (z, y, x), `f64[3]`."""
        return np.linalg.norm(self.matrix, axis=0)

    @property
    def direction(self) -> np.ndarray:
        """Unit vectors of (z, y, x) as columns, `f64[3 3]`."""
        return self.matrix / self.spacing_mm

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not at right angles."""
        gram = self.direction.T @ self.direction
        return bool(np.abs(gram - np.eye(3)).max() > 1e-6)

    def to_world(self, index: Any) -> np.ndarray:
        """Returns points of indices, `[... 3]` (z, y, x) -> `f64[... 3]` (x, y, z)."""
        return np.asarray(index, np.float64) @ self.matrix.T + self.origin

    def to_index(self, point: Any) -> np.ndarray:
        """Returns indices, with fractions, of points: the inverse of `to_world`."""
        offset = np.asarray(point, np.float64) - self.origin
        return np.linalg.solve(self.matrix, offset[..., None])[..., 0]

    def moved(self, index: Any) -> Self:
        """Returns the geometry of the part of the array that begins at an index."""
        return dataclasses.replace(self, origin=self.to_world(index))

    def is_close(self, other: Geometry, *, atol_mm: float = 1e-3) -> bool:
        """Returns whether voxels below index 1000 lie nowhere further apart."""
        return bool(
            np.abs(self.origin - other.origin).max() <= atol_mm
            and np.abs(self.matrix - other.matrix).max() * 1000 <= atol_mm
        )

    def to_dict(self) -> dict[str, np.ndarray]:
        """Returns what batches hold: `matrix` and `origin`."""
        return {"matrix": self.matrix, "origin": self.origin}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the geometry that `to_dict` gave."""
        return cls(matrix=values["matrix"], origin=values["origin"])


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """An array and its geometry.

    Attributes:
      array: `[z y x c]`; time, components of vectors and colours are channels. Without a
        channel axis, one is added.
      geometry: Where the voxels are; 1 mm at the origin unless given.

    Raises:
      VolumeError: If the array has other axes, or holds no numbers.
    """

    array: np.ndarray
    geometry: Geometry = dataclasses.field(default_factory=Geometry.make)

    def __post_init__(self) -> None:
        array = np.asanyarray(self.array)
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4:
            raise VolumeError(
                f"A volume is [z y x] or [z y x c]: got the shape {array.shape}."
            )
        if array.dtype.kind in "OSUMm" or array.dtype.names:
            raise VolumeError(f"A volume holds numbers: got an array of {array.dtype}.")
        object.__setattr__(self, "array", array)

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        z, y, x, _ = self.array.shape
        return z, y, x

    def __repr__(self) -> str:
        spacing = _numbers.told(self.geometry.spacing_mm)
        return (
            f"Image({self.array.dtype}{list(self.array.shape)}, spacing {spacing} mm, "
            f"origin {_numbers.told(self.geometry.origin)} mm)"
        )


@dataclasses.dataclass(frozen=True)
class Region:
    """A box of voxels, `start <= index < stop`, along (z, y, x).

    Raises:
      VolumeError: If these are not three integers each, or an index is below 0.
    """

    start: Shape
    stop: Shape

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            index = _numbers.as_index(name, getattr(self, name))
            object.__setattr__(self, name, index)

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Self:
        """Returns all of an array."""
        return cls((0, 0, 0), _numbers.as_shape(shape[:3]))

    @property
    def shape(self) -> Shape:
        """Number of voxels along (z, y, x)."""
        return _numbers.as_shape(
            b - a for a, b in zip(self.start, self.stop, strict=True)
        )

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What takes the box out of an array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x
