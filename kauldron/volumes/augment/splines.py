"""Smooth deformations: cubic B-splines over a coarse grid of displacements."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from kauldron.volumes.geometry.base import Region
from kauldron.volumes.transforms.sampling import bspline


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spline:
    """Displacements in voxels along (z, y, x): `sum of B(index / spacing - k) * c[k]`.

    Attributes:
      coefficients: `f32[3 kz ky kx]`; the first along each axis is at `-spacing`.
      spacing: Distance of control points in voxels, `f64[3]`.
    """

    coefficients: np.ndarray
    spacing: np.ndarray

    @property
    def largest(self) -> np.ndarray:
        """Bound of the displacement along each axis: values of B sum up to 1."""
        return np.abs(self.coefficients).max(axis=(1, 2, 3)).astype(np.float64)

    def mapped(self, matrix: np.ndarray) -> Spline:
        """Returns the displacements behind a matrix."""
        moved = np.einsum("ij,jzyx->izyx", matrix, self.coefficients)
        return Spline(coefficients=moved.astype(np.float32), spacing=self.spacing)

    def prepared(
        self, region: Region, *, along: int | None = None
    ) -> Callable[[Region], np.ndarray]:
        """Returns the function from slabs of a region to displacements `f32[3 z y x]`.

        Args:
          region: The slabs have its y and x.
          along: Axis along which displacements are derived.
        """
        field = self.coefficients
        for axis in (2, 1):
            field = self._summed(field, axis, region, along == axis)

        return lambda slab: self._summed(field, 0, slab, along == 0)

    def jacobian(self, region: Region) -> np.ndarray:
        """Returns the derivative of the displacements, `f32[z y x 3 3]`."""
        columns = [self.prepared(region, along=axis)(region) for axis in range(3)]
        return np.moveaxis(np.stack(columns, axis=-1), 0, -2)

    def at(self, index: np.ndarray) -> np.ndarray:
        """Returns displacements at any places, `f64[n 3]` -> `f64[n 3]`."""
        picked, weights = [], []
        for axis in range(3):
            size = self.coefficients.shape[axis + 1]
            first, weight = _weights(index[:, axis] / self.spacing[axis], size)
            picked.append(first[:, None] + np.arange(4))
            weights.append(np.stack(weight, axis=1))
        z, y, x = picked
        around = self.coefficients[
            :, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]
        ]
        return np.einsum("knzyx,nz,ny,nx->nk", around, *weights, optimize=True)

    def _summed(
        self, field: np.ndarray, axis: int, region: Region, is_derived: bool
    ) -> np.ndarray:
        """Returns the field at voxels instead of control points, along an axis."""
        index = np.arange(region.start[axis], region.stop[axis])
        size = self.coefficients.shape[axis + 1]
        first, weights = _weights(index / self.spacing[axis], size, is_derived)
        shape = [1, 1, 1, 1]
        shape[axis + 1] = -1
        total = None
        for k, weight in enumerate(weights):
            if is_derived:
                weight = weight / self.spacing[axis]
            term = np.take(field, first + k, axis + 1)
            term *= weight.astype(np.float32).reshape(shape)
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None
        return total


def _weights(
    place: np.ndarray, size: int, is_derived: bool = False
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the first of four control points, and the values of B at each."""
    first = np.clip(np.floor(place), 0, size - 4).astype(np.intp)
    # Places outside of the volume hold the deformation of its face.
    f = np.clip(place - first, 0, 1)
    g = 1 - f
    if is_derived:
        return first, [
            -(g**2) / 2,
            f * (3 * f - 4) / 2,
            -g * (3 * g - 4) / 2,
            f**2 / 2,
        ]
    return first, bspline(f)
