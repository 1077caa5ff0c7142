"""Values of summaries other than images and text: plain data that writers show."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Values whose distribution is shown.

    Attributes:
      tensor: The values, any shape.
      num_buckets: Number of buckets of equal width, from the least to the greatest value.

    Raises:
      ValueError: If there are no values, or no buckets.
    """

    tensor: np.ndarray
    num_buckets: int = 30

    def __post_init__(self) -> None:
        if np.size(self.tensor) == 0:
            raise ValueError(
                f"A histogram needs values: got shape {np.shape(self.tensor)}."
            )
        if self.num_buckets < 1:
            raise ValueError(
                f"`num_buckets` must be at least 1: got {self.num_buckets}."
            )

    def bins(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns `counts` (`Int64["num_buckets"]`) and `edges`
        (`Float64["num_buckets + 1"]`).

        Values that are not finite are left out; if there are no others, all counts are
        0. Around values that are too close for as many buckets, there is room on both
        sides.
        """
        values = np.asarray(self.tensor, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return np.histogram(values, bins=self.num_buckets)
        # A quarter: the range of finite numbers, and what is added, may be beyond them.
        low, high = values.min() / 4, values.max() / 4
        room = 0.0
        if high - low <= 2 * self.num_buckets * np.spacing(max(-low, high)):
            room = 4 * self.num_buckets * np.spacing(max(-low, high))
            room = max(room, 0.125 if low == high else 0.0)
        limit = np.finfo(np.float64).max / 4
        span = max(low - room, -limit), min(high + room, limit)
        counts, edges = np.histogram(values / 4, bins=self.num_buckets, range=span)
        return counts, edges * 4


@dataclasses.dataclass(frozen=True, eq=False)
class PointCloud:
    """Points in space.

    Attributes:
      point_clouds: Positions, `Float32["n points 3"]`.
      point_colors: Colours in [0, 255], `UInt8["n points 3"]`, or `None`.
      configs: Options of whatever shows them, such as the camera.

    Raises:
      ValueError: If the shapes don't fit.
    """

    point_clouds: np.ndarray
    point_colors: np.ndarray | None = None
    configs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.point_clouds)
        if len(shape) != 3 or shape[-1] != 3:
            raise ValueError(f"A point cloud is `f32[n points 3]`: got shape {shape}.")
        colors = self.point_colors
        if colors is not None and np.shape(colors) != shape:
            raise ValueError(
                f"Every point needs a colour: got {np.shape(colors)} for points {shape}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """Moving pictures.

    Attributes:
      frames: `Float32["n t h w 1|3"]` in [0, 1].
      fps: Frames per second.

    Raises:
      ValueError: If the shape is not that of videos.
    """

    frames: np.ndarray
    fps: float = 10.0

    def __post_init__(self) -> None:
        shape = np.shape(self.frames)
        if len(shape) != 5 or shape[-1] not in (1, 3):
            raise ValueError(f"Videos are `f32[n t h w 1|3]`: got shape {shape}.")

    def to_gifs(self) -> list[bytes]:
        """Returns each video as the content of an animated GIF file."""
        from PIL import Image

        gifs = []
        for video in np.round(np.clip(self.frames, 0, 1) * 255).astype(np.uint8):
            video = video[..., 0] if video.shape[-1] == 1 else video
            first, *others = [Image.fromarray(frame) for frame in video]
            file = io.BytesIO()
            first.save(
                file,
                format="GIF",
                save_all=True,
                append_images=others,
                duration=round(1000 / self.fps),
                loop=0,
            )
            gifs.append(file.getvalue())
        return gifs

    def as_images(self) -> np.ndarray:
        """Returns the frames side by side, `Float32["n h t*w 1|3"]`, for what shows no
        videos."""
        n, t, h, w, c = self.frames.shape
        return np.moveaxis(self.frames, 1, 2).reshape(n, h, t * w, c)
