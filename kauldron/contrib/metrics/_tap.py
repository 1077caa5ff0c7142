"""Tracking any point: positions and occlusions of points over time.

Reference: Doersch et al. 2022, TAP-Vid, section 4.3, arXiv:2211.03726; Koppula et al. 2024,
TAPVid-3D, arXiv:2407.05921, for points in space.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays, base_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tap(metrics.Metric):
    tracks: kontext.Key = kontext.REQUIRED
    visible: kontext.Key | None = None
    gt_tracks: kontext.Key = kontext.REQUIRED
    gt_visible: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    thresholds: tuple[float, ...] = (1, 2, 4, 8, 16)

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    def _is_near(
        self, tracks: Array["*b t n d"], gt_tracks: Array["*b t n d"]
    ) -> jax.Array:
        """Whether points are nearer than each threshold,
        `Array["*b t n thresholds"]`."""
        arrays.check_same_shape(self, tracks=tracks, gt_tracks=gt_tracks)
        difference = jnp.asarray(tracks, jnp.float32) - gt_tracks
        squares = jnp.sum(jnp.square(difference), axis=-1, keepdims=True)
        return squares < jnp.square(jnp.asarray(self.thresholds, jnp.float32))


def _flags(value: object, shape: tuple[int, ...]) -> jax.Array:
    """Returns flags `Array["*b t n"]` as numbers; a last axis of 1 may be there."""
    value = jnp.asarray(value)
    return base_state.broadcast_mask(value, shape).astype(bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapPositionAccuracy(_Tap):
    """Share of the visible points that are within a distance, averaged over distances.

    Attributes:
      tracks: Key to predicted positions, `Float["*b t n 2"]`, in pixels of a 256 x 256
        image.
      visible: Not used here.
      gt_tracks: Key to true positions of the same shape.
      gt_visible: Key to whether a point can be seen, `Array["*b t n"]` or
        `Array["*b t n 1"]`.
      mask: Key to which points count, `Array["*b t n"]` or `Array["*b t n 1"]`.
      thresholds: The distances.
    """

    @typechecked
    def get_state(
        self,
        tracks: Array["*b t n d"],
        gt_tracks: Array["*b t n d"],
        gt_visible: Array,
        visible: Array | None = None,
        mask: Array | float | None = None,
    ) -> Any:
        del visible
        is_near = self._is_near(tracks, gt_tracks)
        counts = _flags(gt_visible, is_near.shape[:-1])
        if mask is not None:
            counts &= _flags(mask, counts.shape)
        return self.State.from_values(is_near, mask=counts[..., None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapOcclusionAccuracy(metrics.Metric):
    """Fraction of points whose visibility is predicted correctly.

    Attributes:
      visible: Key to predictions, `Array["*b t n"]` or `Array["*b t n 1"]`.
      gt_visible: Key to the truth, of the same shape.
      mask: Key to which points count; an axis may be missing at the end.
    """

    visible: kontext.Key = kontext.REQUIRED
    gt_visible: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    @typechecked
    def get_state(
        self, visible: Array, gt_visible: Array, mask: Array | float | None = None
    ) -> State:
        arrays.check_same_shape(self, visible=visible, gt_visible=gt_visible)
        is_right = (visible != 0) == (gt_visible != 0)
        return self.State.from_values(is_right, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapAverageJaccard(_Tap):
    """Jaccard of points that are found, seen, and within a distance of the truth.

    For each distance `TP / (TP + FP + FN)` over the points of an example: TP are
    visible points that are predicted visible and near; FP those predicted visible that
    are occluded or far; FN visible points predicted occluded or far. Averaged over
    distances and examples.

    Attributes:
      tracks: Key to predicted positions, `Float["*b t n 2"]`, in pixels of a 256 x 256
        image.
      visible: Key to predicted visibility, `Array["*b t n"]` or `Array["*b t n 1"]`.
      gt_tracks: Key to true positions of the same shape.
      gt_visible: Key to true visibility.
      mask: Key to which points count, `Array["*b t n"]` or `Array["*b t n 1"]`.
      thresholds: The distances.
    """

    visible: kontext.Key = kontext.REQUIRED

    @typechecked
    def get_state(
        self,
        tracks: Array["*b t n d"],
        visible: Array,
        gt_tracks: Array["*b t n d"],
        gt_visible: Array,
        mask: Array | float | None = None,
    ) -> Any:
        is_near = self._is_near(tracks, gt_tracks)
        shape = is_near.shape[:-1]
        seen, truly_seen = (_flags(x, shape)[..., None] for x in (visible, gt_visible))
        counts = True if mask is None else _flags(mask, shape)[..., None]
        hits = _count(is_near & seen & truly_seen & counts)
        false_alarms = _count(seen & ~(truly_seen & is_near) & counts)
        # Every visible point is a hit or missed.
        union = _count(truly_seen & counts) + false_alarms
        return self.State.from_values(hits / jnp.maximum(union, 1), mask=union > 0)


def _count(flags: jax.Array) -> jax.Array:
    """Sums over time and points, `Array["*b thresholds|1"]`."""
    return flags.sum(axis=(-3, -2), dtype=jnp.float32)


# In metres.
_DISTANCES = (0.1, 0.3, 0.5, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tap3DPositionAccuracy(TapPositionAccuracy):
    """`TapPositionAccuracy` of points in space, `Float["*b t n 3"]`, in the unit of
    distances.

    Attributes:
      thresholds: The distances, the same for every point.
    """

    thresholds: tuple[float, ...] = _DISTANCES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tap3DAverageJaccard(TapAverageJaccard):
    """`TapAverageJaccard` of points in space, `Float["*b t n 3"]`, in the unit of
    distances.

    Attributes:
      thresholds: The distances, the same for every point.
    """

    thresholds: tuple[float, ...] = _DISTANCES
