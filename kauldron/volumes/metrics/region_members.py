"""Metrics of label maps with a value for each case and class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import exact_sums, predicted_classes
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics import case_state, overlap
from kauldron.volumes.metrics.surfaces import Spacing, SurfaceDistances, check_pooling


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfRegions(case_state.CaseMetric):
    logits: kontext.Key | None = None
    pred_labels: kontext.Key | None = None
    labels: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None
    classes: Mapping[str, int] | Sequence[int]

    _num_sums: ClassVar[int]

    def __post_init__(self) -> None:
        case_state.names_of(self.classes)

    def class_names(self) -> list[str]:
        return list(case_state.names_of(self.classes))

    @property
    def ids(self) -> list[int]:
        """The labels of the classes."""
        return list(case_state.names_of(self.classes).values())

    @typechecked
    def get_state(
        self,
        labels: Array["b *space 1"],
        logits: Array["b *space c"] | None = None,
        pred_labels: Array["b *space 1"] | None = None,
        mask: Array | None = None,
        region_mask: Array | None = None,
        case: Any = None,
        geometry: Any = None,
    ) -> case_state.CaseState:
        name = type(self).__name__
        if (logits is None) == (pred_labels is None):
            raise VolumeError(
                f"{name} needs exactly one of `logits` and `pred_labels`: got "
                + ("neither." if logits is None else "both.")
            )
        preds = pred_labels
        if logits is not None:
            preds = predicted_classes.best_class(logits)
        _check_labels(self, pred_labels=preds, labels=labels)
        matrices = None if geometry is None else geometry["matrix"]
        inputs = [preds, labels, region_mask, matrices]
        if not exact_sums.is_traced(inputs):
            return self._to_state(self._count(*inputs), case, mask)
        return self._to_state(self._count_in_jit(*inputs), case, mask)

    def _count_in_jit(
        self, preds: Any, labels: Any, region_mask: Any, matrices: Any
    ) -> jax.Array:
        """Returns the sums of a batch, `f32[b 1 classes k]`, counted on the host."""
        shape = (labels.shape[0], 1, len(self.ids), self._num_sums)
        return jax.pure_callback(
            lambda *x: self._count(*x).astype(np.float32),
            jax.ShapeDtypeStruct(shape, np.float32),
            *(preds, labels, region_mask, matrices),
        )

    def _count(
        self, preds: Any, labels: Any, region_mask: Any, matrices: Any
    ) -> np.ndarray:
        """Returns the sums of a batch, `f64[b 1 classes k]`. Runs on the host."""
        # Arrays of JAX would start programs for each case that is taken out of them. In a
        # callback these wait for the devices that wait for the callback.
        preds, labels, region_mask, matrices = jax.tree.map(
            np.asarray, (preds, labels, region_mask, matrices)
        )
        counts = []
        for i, pair in enumerate(zip(preds, labels, strict=True)):
            a, b = (x[..., 0] for x in pair)
            mask = None
            if region_mask is not None:
                mask = np.reshape(region_mask[i], a.shape).astype(bool)
            matrix = None if matrices is None else matrices[i].astype(np.float64)
            counts.append(self.count(a, b, mask, matrix))
        empty = np.zeros((0, len(self.ids), self._num_sums))
        return np.stack(counts)[:, None] if counts else empty[:, None]

    def count(
        self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None, matrix: Any
    ) -> np.ndarray:
        """Returns the sums of one case, `f64[classes k]`, of label maps `[z y x]`."""
        raise NotImplementedError


def _check_labels(metric: _OfRegions, **labels: Any) -> None:
    shapes = {x.shape for x in labels.values()}
    if len(shapes) > 1 or any(x.dtype.kind not in "iub" for x in labels.values()):
        seen = " and ".join(
            f"`{k}` {x.dtype}{list(x.shape)} (key {getattr(metric, k)!r})"
            for k, x in labels.items()
        )
        raise VolumeError(
            f"{type(metric).__name__} compares integer labels `i[b z y x 1]` of one "
            f"shape: got {seen}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dice(_OfRegions):
    """Dice coefficient of each case and class, `2 |A and B| / (|A| + |B|)`.

    The value is a dict: the mean over cases of each class, `mean`, and `num_undefined`.
    Of a class that is absent from prediction and truth of a case, it is undefined: left
    out and counted. Absent from one, it is 0. Cases may come in parts.

    Attributes:
      logits: Key to scores, `Float["b *space c"]`: the highest is the label.
      pred_labels: Key to predicted labels instead, `Int["b *space 1"]`.
      labels: Key to true labels, `Int["b *space 1"]`.
      classes: Labels that are measured, or a dict from name to label.
      region_mask: Key to the voxels that count, `Array["b *space"]` or
        `Array["b *space 1"]`.
      case: Key to the names of the cases, strings, UTF-8 bytes `UInt8["b n"]` or numbers;
        without it, every example is a case of its own.
      mask: Key to which examples count, `Array["b"]` or `Array["b 1"]`.

    Raises:
      VolumeError: If the labels are no integers of one shape, or `classes` no labels.
    """

    direction: ClassVar[case_state.Direction] = "max"
    _num_sums: ClassVar[int] = 3

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        return overlap.dice_of(sums)

    def count(
        self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None, matrix: Any
    ) -> np.ndarray:
        del matrix
        return overlap.count_overlap(a, b, self.ids, mask=mask).astype(np.float64)

    def _count_in_jit(
        self, preds: Any, labels: Any, region_mask: Any, matrices: Any
    ) -> jax.Array:
        del matrices
        ids = jnp.asarray(self.ids)
        a, b = preds == ids, labels == ids
        if region_mask is not None:
            counts = jnp.reshape(region_mask, labels.shape) != 0
            a, b = a & counts, b & counts
        space = tuple(range(1, labels.ndim - 1))
        # Integers: f32 stops counting at 2^24 voxels.
        sums = [jnp.sum(x, space, dtype=jnp.int32) for x in (a & b, a, b)]
        return jnp.stack(sums, axis=-1)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfSurfaces(_OfRegions):
    """Base of metrics of the distances of surfaces; these are computed on the host.

    Inside jit on several simulated CPU devices, the host may wait for a thread that they
    hold, for ever: `NPROC=32` in the environment gives them enough.

    Attributes:
      geometry: Key to the geometry of each case, `{"matrix": Float["b 3 3"], ...}`, as
        pipelines of volumes give it.
      spacing_mm: Without it: the distance of neighbours along (z, y, x), in mm.
    """

    geometry: kontext.Key | None = None
    spacing_mm: float | Sequence[float] = 1.0

    needs_whole_cases: ClassVar[bool] = True
    _num_sums: ClassVar[int] = 1

    def value_of(self, distances: SurfaceDistances) -> float:
        """Returns the value of a class of a case."""
        raise NotImplementedError

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        return sums[:, 0]

    def count(
        self, a: np.ndarray, b: np.ndarray, mask: np.ndarray | None, matrix: Any
    ) -> np.ndarray:
        steps = self.spacing_mm if matrix is None else matrix
        found = distances_of(a, b, self.ids, spacing_mm=steps, mask=mask)
        return self._values(found)

    def state_of(
        self, distances: Sequence[SurfaceDistances], case: str
    ) -> case_state.CaseState:
        """Returns the state of one case from distances of each class, found before."""
        return self._to_state(self._values(distances)[None, None], [case], None)

    def _values(self, distances: Sequence[SurfaceDistances]) -> np.ndarray:
        return np.array([[self.value_of(d)] for d in distances])


def distances_of(
    a: np.ndarray,
    b: np.ndarray,
    labels: Sequence[int],
    *,
    spacing_mm: Spacing,
    mask: np.ndarray | None = None,
) -> list[SurfaceDistances]:
    """Returns the distances of each label; voxels that don't count are in no region."""
    return [
        SurfaceDistances.of(
            np.equal(a, label), np.equal(b, label), spacing_mm=spacing_mm, mask=mask
        )
        for label in labels
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hausdorff(OfSurfaces):
    """Hausdorff distance of each case and class in mm, or a percentile of it.

    As `kd.volumes.metrics.hausdorff`. The value is a dict: the mean over cases of each
    class, `mean`, and `num_undefined`. Of a class that is absent from prediction or truth
    of a case, it is undefined: left out and counted. Cases must be whole.

    Attributes:
      percentile: 100 is the largest distance, 95 is known as HD95.
      pooling: `'directed_max'` or `'pooled'`.

    Raises:
      ValueError: If the percentile or the pooling is none.
      VolumeError: If the labels are no integers of one shape, or `classes` no labels; on
        computing the value, if a case came in several parts.
    """

    percentile: float = 100.0
    pooling: Literal["directed_max", "pooled"] = "directed_max"

    direction: ClassVar[case_state.Direction] = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.percentile <= 100:
            raise ValueError(f"`percentile` lies in [0, 100]: got {self.percentile!r}.")
        check_pooling(self.pooling, ("directed_max", "pooled"))

    def value_of(self, distances: SurfaceDistances) -> float:
        return distances.hausdorff(self.percentile, self.pooling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceDistance(OfSurfaces):
    """Average symmetric surface distance of each case and class in mm.

    As `kd.volumes.metrics.surface_distance`; value, undefined classes and keys as those of
    `Hausdorff`.

    Attributes:
      pooling: `'pooled'`, `'directed_mean'` or `'directed_max'`.

    Raises:
      ValueError: If the pooling is none.
    """

    pooling: Literal["pooled", "directed_mean", "directed_max"] = "pooled"

    direction: ClassVar[case_state.Direction] = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pooling(self.pooling, ("pooled", "directed_mean", "directed_max"))

    def value_of(self, distances: SurfaceDistances) -> float:
        return distances.mean(self.pooling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurfaceDice(OfSurfaces):
    """Share of the surfaces that lie within a tolerance, of each case and class.

    As `kd.volumes.metrics.surface_dice`; value and keys as those of `Hausdorff`. Of a class
    that is absent from prediction and truth, it is undefined; absent from one, it is 0.

    Attributes:
      tolerance_mm: Largest distance that is close.

    Raises:
      ValueError: If the tolerance is negative.
    """

    tolerance_mm: float = 1.0

    direction: ClassVar[case_state.Direction] = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance_mm >= 0:
            raise ValueError(f"`tolerance_mm` is >= 0: got {self.tolerance_mm!r}.")

    def value_of(self, distances: SurfaceDistances) -> float:
        return distances.share_within(self.tolerance_mm)
