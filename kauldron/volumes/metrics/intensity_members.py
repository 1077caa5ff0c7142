"""Metrics of intensities and of landmarks with a value for each case."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays, exact_sums
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics import case_state, intensities


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfIntensities(case_state.CaseMetric):
    """Base of metrics of two volumes: a mean over voxels, by planes.

    Attributes:
      preds: Key to volumes, `Array["b z y x c"]`.
      targets: Key to volumes of the same shape.
      region_mask: Key to the voxels that count, `Array["b z y x"]` or
        `Array["b z y x 1"]`.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    region_mask: kontext.Key | None = None

    @typechecked
    def get_state(
        self,
        preds: Array["b z y x c"],
        targets: Array["b z y x c"],
        region_mask: Array | None = None,
        mask: Array | None = None,
        case: Any = None,
    ) -> case_state.CaseState:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        both = preds, targets
        is_traced = exact_sums.is_traced(both, region_mask)
        # Without jit, in f64: sums of planes are the same whatever slabs they come in.
        xp, dtype = (jnp, jnp.float32) if is_traced else (np, np.float64)
        a, b = (xp.asarray(x).astype(dtype) for x in both)
        weights = xp.ones((*a.shape[:-1], 1), bool)
        if region_mask is not None:
            weights = xp.reshape(xp.asarray(region_mask), weights.shape).astype(bool)
        values, weights = self.compare(xp, a, b, weights)
        weights = xp.broadcast_to(weights, values.shape)
        total = xp.where(weights, values, 0).sum(axis=(2, 3, 4))
        parts = xp.stack([total, weights.sum(axis=(2, 3, 4)).astype(dtype)], axis=-1)
        if case is None or self.needs_whole_cases:
            parts = parts.sum(axis=1, keepdims=True)
        return self._to_state(parts[:, :, None], case, mask)

    def compare(self, xp: Any, a: Any, b: Any, weights: Any) -> tuple[Any, Any]:
        """Returns values `[b z y x c]` and which of them count, by a library of arrays."""
        raise NotImplementedError

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        total, count = sums.T
        nothing = np.full(total.shape, np.nan)
        return np.divide(total, count, out=nothing, where=count > 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(OfIntensities):
    """Mean absolute difference of the voxels of each case; the mean over cases.

    Attributes:
      preds: Key to volumes, `Array["b z y x c"]`.
      targets: Key to volumes of the same shape.
      region_mask: Key to the voxels that count, `Array["b z y x"]` or
        `Array["b z y x 1"]`.
      case: Key to the names of the cases, strings, UTF-8 bytes `UInt8["b n"]` or numbers;
        without it, every example is a case of its own. Cases may come in parts.
      mask: Key to which examples count, `Array["b"]` or `Array["b 1"]`.

    Raises:
      ValueError: If the shapes differ.
    """

    direction: ClassVar[case_state.Direction] = "min"

    def compare(self, xp: Any, a: Any, b: Any, weights: Any) -> tuple[Any, Any]:
        return xp.abs(a - b), weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSquaredError(OfIntensities):
    """Mean squared difference of the voxels of each case; the mean over cases.

    Keys and errors as those of `MeanAbsoluteError`.
    """

    direction: ClassVar[case_state.Direction] = "min"

    def compare(self, xp: Any, a: Any, b: Any, weights: Any) -> tuple[Any, Any]:
        return xp.square(a - b), weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Psnr(OfIntensities):
    """Peak signal-to-noise ratio of each case in dB; the mean over cases.

    As `kd.volumes.metrics.psnr`. Keys as those of `MeanAbsoluteError`; cases may come in
    parts.

    Attributes:
      data_range: Width of the range of the values; it is never guessed.

    Raises:
      VolumeError: If the range is not above 0.
      ValueError: If the shapes differ.
    """

    data_range: float

    direction: ClassVar[case_state.Direction] = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        intensities.check_range(self.data_range)

    def compare(self, xp: Any, a: Any, b: Any, weights: Any) -> tuple[Any, Any]:
        return xp.square(a - b), weights

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        return intensities.psnr_of(super().values_of(sums), self.data_range)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ssim(OfIntensities):
    """Structural similarity of each case, in [-1, 1]; the mean over cases.

    As `kd.volumes.metrics.ssim`. Keys as those of `MeanAbsoluteError`; cases must be
    whole.

    Attributes:
      data_range: Width of the range of the values; it is never guessed.
      window: `'3d'` for cubes; `'2d'` for squares in each slice along z, which gives
        another value.

    Raises:
      VolumeError: If the range is not above 0.
      ValueError: If the shapes differ, or volumes are smaller than a window.
    """

    data_range: float
    window: intensities.Window = "3d"

    direction: ClassVar[case_state.Direction] = "max"
    needs_whole_cases: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        intensities.check_range(self.data_range)
        if self.window not in ("3d", "2d"):
            raise VolumeError(f"`window` is '3d' or '2d': got {self.window!r}.")

    def compare(self, xp: Any, a: Any, b: Any, weights: Any) -> tuple[Any, Any]:
        values = intensities.similarity(a, b, self.data_range, self.window)
        inner = intensities.inside(weights[..., 0], self.window)[..., None]
        return xp.asarray(values), inner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tre(case_state.CaseMetric):
    """Target registration error of each case in mm; the mean over cases.

    As `kd.volumes.metrics.tre`: landmarks that are NaN are left out.

    Attributes:
      preds: Key to landmarks, points of the world in mm, `Float["b n 3"]`.
      targets: Key to where they should be, of the same shape.
      case: Key to the names of the cases; without it, every example is one.
      mask: Key to which examples count, `Array["b"]` or `Array["b 1"]`.

    Raises:
      ValueError: If the shapes differ.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED

    direction: ClassVar[case_state.Direction] = "min"

    @typechecked
    def get_state(
        self,
        preds: Array["b n d"],
        targets: Array["b n d"],
        mask: Array | None = None,
        case: Any = None,
    ) -> case_state.CaseState:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        is_traced = exact_sums.is_traced(preds, targets)
        xp, dtype = (jnp, jnp.float32) if is_traced else (np, np.float64)
        offsets = xp.asarray(preds).astype(dtype) - xp.asarray(targets).astype(dtype)
        distances = xp.linalg.norm(offsets, axis=-1)
        is_known = ~xp.isnan(distances)
        total = xp.where(is_known, distances, 0).sum(axis=1)
        sums = xp.stack([total, is_known.sum(axis=1).astype(dtype)], axis=-1)
        return self._to_state(sums[:, None, None], case, mask)

    def values_of(self, sums: np.ndarray) -> np.ndarray:
        total, count = sums.T
        nothing = np.full(total.shape, np.nan)
        return np.divide(total, count, out=nothing, where=count > 0)
