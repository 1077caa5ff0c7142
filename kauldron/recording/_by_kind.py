"""Adapts the per-kind writer calls, as published, to `Measured`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kauldron import summaries
from kauldron.recording import measured


def to_measured(method: str, *args: Any, **kwargs: Any) -> measured.Measured | None:
    """Returns what a call such as `write_images(3, {"x": ...})` would write.

    `None` for what no `Measured` has: sound, and what `Writer.describe` writes.
    """
    make = _MAKERS.get(method)
    return None if make is None else make(*args[1:], **kwargs)


def _summaries(values: Mapping[str, Any], **options: Any) -> measured.Measured:
    del options
    return measured.Measured(summaries=values)


def _histograms(arrays: Mapping[str, Any], *, num_buckets: int) -> measured.Measured:
    shown = {k: summaries.Histogram(x, num_buckets) for k, x in arrays.items()}
    return measured.Measured(summaries=shown)


def _videos(videos: Mapping[str, Any], *, fps: float = 10.0) -> measured.Measured:
    shown = {k: summaries.Video(x, fps=fps) for k, x in videos.items()}
    return measured.Measured(summaries=shown)


def _pointcloud(
    point_clouds: Mapping[str, Any],
    *,
    point_colors: Mapping[str, Any],
    configs: Mapping[str, Any] | None = None,
) -> measured.Measured:
    shown = {
        name: summaries.PointCloud(x, point_colors.get(name), (configs or {}).get(name))
        for name, x in point_clouds.items()
    }
    return measured.Measured(summaries=shown)


_MAKERS: dict[str, Callable[..., measured.Measured]] = {
    "write_scalars": lambda x: measured.Measured(scalars=x),
    "write_timings": lambda x: measured.Measured(timings=x),
    "write_arrays": lambda x: measured.Measured(arrays=x),
    "write_images": _summaries,
    "write_texts": _summaries,
    "write_histograms": _histograms,
    "write_pointcloud": _pointcloud,
    "write_videos": _videos,
}
