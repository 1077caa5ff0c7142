"""Statistics of a volume, and values by their rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Image, Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Others,
    Point,
    PointTransform,
    Reach,
    Same,
    Undo,
    VolumeTransform,
    Whole,
    other_image,
)
from kauldron.volumes.transforms.intensity import known_values


def quantiles_of(array: np.ndarray, *, num_points: int = 101) -> tuple[float, ...]:
    """Returns values at even ranks, from the smallest to the greatest.

    The `reference` of `HistogramMatching`: of one volume, or of voxels of many.
    """
    ranks = np.linspace(0, 1, num_points)
    return tuple(float(value) for value in np.quantile(array, ranks))


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistogramMatching(PointTransform):
    """Gives values the distribution of a reference, in the order that they have.

    Values at even ranks are mapped to those of the reference, straight lines lie between.

    Attributes:
      reference: Values at even ranks, from the smallest to the greatest: see
        `quantiles_of`.
      by: Instead: the group that is the reference.
      within: Group that is above 0 where the voxels count.
      source: Values of the volume at the same ranks; looked up unless given.
    """

    reference: Sequence[float] | None = None
    by: str | None = None
    within: str | None = None
    source: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if (self.reference is None) == (self.by is None):
            raise VolumeError(
                f"`HistogramMatching` has either `reference` or `by`: got {self}."
            )
        if self.reference is not None and (
            len(self.reference) < 2 or (np.diff(self.reference) < 0).any()
        ):
            raise VolumeError(
                "`HistogramMatching.reference` has two values or more that don't fall: "
                f"got {self.reference}."
            )

    @property
    def reach(self) -> Reach:
        """The whole unless both distributions are given."""
        known = self.source is not None and self.reference is not None
        return Point() if known else Whole()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns it with the distribution of the volume."""
        if isinstance(self.reach, Point):
            return self
        reference = self.reference
        if self.by is not None:
            other = other_image(others, self.by, asked_by="HistogramMatching")
            reference = quantiles_of(other.array)
        assert reference is not None
        values = known_values(image, others, self.within, "HistogramMatching")
        source = quantiles_of(values, num_points=len(reference))
        return HistogramMatching(reference=tuple(reference), source=source)

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns `f32`."""
        self._check_fitted()
        # Of ranks with one value, such as those of the background, the middle counts.
        source, first = np.unique(np.asarray(self.source), return_index=True)
        counts = np.diff(np.append(first, len(np.asarray(self.source))))
        target = np.add.reduceat(np.asarray(self.reference, np.float64), first) / counts
        return np.interp(x, source, target).astype(np.float32)

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns both distributions."""
        del shape, geometry
        return {"source": self.source, "reference": self.reference}

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the matching to what the volume was."""
        return HistogramMatching(source=undo["reference"], reference=undo["source"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics(VolumeTransform):
    """Leaves the volume as it is, and its statistics in `undo`.

    They are `mean`, `std`, `min`, `max`, `num_voxels` and `percentiles`, a dict.

    Attributes:
      percentiles: Which ones.
      by: Group that is above 0 where the voxels count.
    """

    percentiles: Sequence[float] = (0.5, 5, 50, 95, 99.5)
    by: str | None = None

    @property
    def reach(self) -> Reach:
        """The whole."""
        return Whole()

    def fitted(self, image: Image, others: Others) -> VolumeTransform:
        """Returns what knows the statistics."""
        values = known_values(image, others, self.by, "Statistics")
        points = np.percentile(values, list(self.percentiles))
        return Known(
            statistics={
                "mean": float(values.mean(dtype=np.float64)),
                "std": float(values.std(dtype=np.float64)),
                "min": float(values.min()),
                "max": float(values.max()),
                "num_voxels": len(values),
                "percentiles": dict(
                    zip(self.percentiles, points.tolist(), strict=True)
                ),
            }
        )

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns what changes nothing."""
        del undo
        return Same()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Same):
    """Changes nothing and knows statistics."""

    statistics: Undo

    def undo(self, shape: Shape, geometry: Geometry) -> Undo:
        """Returns the statistics."""
        del shape, geometry
        return self.statistics
