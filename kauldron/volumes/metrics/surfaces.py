"""Distances between the surfaces of two regions, in millimetres.

The surface of a region are its voxels with a face neighbour outside; beyond the array is
outside. Distances are those of the centres of voxels: from each surface voxel of one
region to the nearest of the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np

from kauldron.ktyping import Array
from kauldron.volumes.metrics import _nearest, _regions

Pooling = Literal["directed_max", "pooled"]
Spacing = float | Sequence[float] | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How far the surface voxels of two regions are from the other surface.

    Attributes:
      a_to_b: Of each surface voxel of `a`, in mm, `f64[n]`; inf where `b` is empty.
      b_to_a: Of each surface voxel of `b`, `f64[m]`; inf where `a` is empty.
    """

    a_to_b: np.ndarray
    b_to_a: np.ndarray

    @classmethod
    def of(
        cls,
        a: Array,
        b: Array,
        *,
        spacing_mm: Spacing = 1.0,
        mask: Array | None = None,
    ) -> Self:
        """Returns the distances of two regions, computed once for several measures.

        Args:
          a: A region `[z y x]` (2-D is fine, too): true, or not 0, is inside.
          b: A region of the same shape.
          spacing_mm: Distance of neighbours along the axes, one number for all, or the
            matrix of a `Geometry`, the axes of which need not be at right angles.
          mask: The voxels that count; the others are in no region.

        Raises:
          VolumeError: If the shapes differ, or the spacing is not one.
        """
        a, b = _regions.as_masks(a, b)
        if mask is not None:
            inside = np.reshape(mask, a.shape).astype(bool)
            a, b = a & inside, b & inside
        steps = _regions.steps_of(spacing_mm, a.ndim)
        if not a.any() or not b.any():
            counts = [np.count_nonzero(_regions.surface_of(x)) for x in (a, b)]
            return cls(*(np.full(n, np.inf) for n in counts))
        box = _regions.box_of(a | b)
        a_surface, b_surface = (_regions.surface_of(x[box]) for x in (a, b))
        return cls(*_nearest.distances(a_surface, b_surface, steps))

    @property
    def is_undefined(self) -> bool:
        """Whether a region is empty: there is no distance to it."""
        return not (self.a_to_b.size and self.b_to_a.size)

    def hausdorff(
        self, percentile: float = 100.0, pooling: Pooling = "directed_max"
    ) -> float:
        """Returns what `hausdorff` does."""
        check_pooling(pooling, ("directed_max", "pooled"))
        if not 0 <= percentile <= 100:
            raise ValueError(f"`percentile` lies in [0, 100]: got {percentile!r}.")
        if self.is_undefined:
            return np.nan
        if pooling == "pooled":
            both = np.concatenate([self.a_to_b, self.b_to_a])
            return float(np.percentile(both, percentile))
        return max(
            float(np.percentile(x, percentile)) for x in (self.a_to_b, self.b_to_a)
        )

    def mean(self, pooling: str = "pooled") -> float:
        """Returns what `surface_distance` does."""
        check_pooling(pooling, ("pooled", "directed_mean", "directed_max"))
        if self.is_undefined:
            return np.nan
        if pooling == "pooled":
            total = self.a_to_b.sum() + self.b_to_a.sum()
            return float(total / (self.a_to_b.size + self.b_to_a.size))
        means = float(self.a_to_b.mean()), float(self.b_to_a.mean())
        return max(means) if pooling == "directed_max" else sum(means) / 2

    def share_within(self, tolerance_mm: float) -> float:
        """Returns what `surface_dice` does."""
        if not tolerance_mm >= 0:
            raise ValueError(f"`tolerance_mm` is >= 0: got {tolerance_mm!r}.")
        num = self.a_to_b.size + self.b_to_a.size
        if not num:
            return np.nan
        # A distance of sqrt(3) mm is within a tolerance that was written as 1.7320508.
        limit = tolerance_mm * (1 + 1e-7)
        within = np.count_nonzero(self.a_to_b <= limit)
        return (within + np.count_nonzero(self.b_to_a <= limit)) / num


def hausdorff(
    a: Array,
    b: Array,
    *,
    spacing_mm: Spacing = 1.0,
    percentile: float = 100.0,
    pooling: Pooling = "directed_max",
    labels: Sequence[int] | None = None,
    mask: Array | None = None,
) -> Any:
    """Returns the Hausdorff distance of two regions, or a percentile of it, in mm.

    NaN if one of them is empty, or both.

    Args:
      a: A region `[z y x]`: true, or not 0, is inside. With `labels`, integers.
      b: Another one of the same shape.
      spacing_mm: Distance of neighbours along (z, y, x), one number for all, or the
        matrix of a `Geometry`.
      percentile: 100 is the largest distance; 95 is known as HD95. Between two distances
        it is interpolated linearly.
      pooling: `'directed_max'` takes the percentile of the distances from `a` to `b` and
        of those from `b` to `a`, and of these the larger. `'pooled'` takes the percentile
        of all of them together, which is never larger. There are libraries of both kinds.
      labels: Measures each of these labels by itself.
      mask: The voxels that count, `[z y x]`; the others are in no region.

    Returns:
      The distance; with `labels`, a dict from label to distance.

    Raises:
      VolumeError: If the shapes differ, or the spacing is not one.
      ValueError: If the percentile or the pooling is none.
    """
    return _each(
        a, b, labels, spacing_mm, mask, lambda d: d.hausdorff(percentile, pooling)
    )


def surface_distance(
    a: Array,
    b: Array,
    *,
    spacing_mm: Spacing = 1.0,
    pooling: Literal["pooled", "directed_mean", "directed_max"] = "pooled",
    labels: Sequence[int] | None = None,
    mask: Array | None = None,
) -> Any:
    """Returns the average symmetric distance of the surfaces of two regions, in mm.

    NaN if one of them is empty, or both.

    Args:
      a: A region `[z y x]`: true, or not 0, is inside. With `labels`, integers.
      b: Another one of the same shape.
      spacing_mm: As in `hausdorff`.
      pooling: `'pooled'` is the mean of all distances, `'directed_mean'` that of the two
        directed means (they differ if the surfaces differ in size), `'directed_max'` the
        larger of these.
      labels: Measures each of these labels by itself.
      mask: The voxels that count, `[z y x]`; the others are in no region.

    Returns:
      The distance; with `labels`, a dict from label to distance.

    Raises:
      VolumeError: If the shapes differ, or the spacing is not one.
      ValueError: If the pooling is none.

    Reference: Heimann et al. 2009, Comparison and Evaluation of Methods for Liver
      Segmentation From CT Datasets (pooled).
    """
    return _each(a, b, labels, spacing_mm, mask, lambda d: d.mean(pooling))


def surface_dice(
    a: Array,
    b: Array,
    *,
    spacing_mm: Spacing = 1.0,
    tolerance_mm: float = 1.0,
    labels: Sequence[int] | None = None,
    mask: Array | None = None,
) -> Any:
    """Returns the share of two surfaces that lies close to the other one, in [0, 1].

    Surface voxels of both regions are counted, each alike. If both are empty, it is NaN;
    if one is, 0.

    Args:
      a: A region `[z y x]`: true, or not 0, is inside. With `labels`, integers.
      b: Another one of the same shape.
      spacing_mm: As in `hausdorff`.
      tolerance_mm: Largest distance that is close.
      labels: Measures each of these labels by itself.
      mask: The voxels that count, `[z y x]`; the others are in no region.

    Returns:
      The share; with `labels`, a dict from label to share.

    Raises:
      VolumeError: If the shapes differ, or the spacing is not one.
      ValueError: If the tolerance is negative.

    Reference: Nikolov et al. 2018, Deep learning to achieve clinically applicable
      segmentation of head and neck anatomy, arXiv:1809.04430 (there surfaces between
      voxels, weighted by their area).
    """
    return _each(a, b, labels, spacing_mm, mask, lambda d: d.share_within(tolerance_mm))


def check_pooling(pooling: str, allowed: Sequence[str]) -> None:
    """Raises ValueError unless a pooling is one of those allowed."""
    if pooling not in allowed:
        raise ValueError(f"`pooling` is one of {list(allowed)}: got {pooling!r}.")


def _each(
    a: Array,
    b: Array,
    labels: Sequence[int] | None,
    spacing_mm: Spacing,
    mask: Array | None,
    value: Callable[[SurfaceDistances], float],
) -> Any:
    if labels is None:
        return value(SurfaceDistances.of(a, b, spacing_mm=spacing_mm, mask=mask))
    pairs = _regions.of_labels(a, b, labels)
    return {
        label: value(SurfaceDistances.of(*pair, spacing_mm=spacing_mm, mask=mask))
        for label, pair in pairs
    }
