"""Summaries: metrics whose value is something to look at.

What `compute` may return, and a writer has to show: images `Float32["n h w 1|3"]` in
[0, 1], a string, an array of strings, a `Histogram`, a `PointCloud`, or a `Video`.
"""

from __future__ import annotations

from kauldron._base import public
from kauldron.summaries import deprecated
from kauldron.summaries._confusion import ConfusionMatrix
from kauldron.summaries._images import ShowDifferenceImages, ShowImages, ShowVideos
from kauldron.summaries._overlays import ShowBoxes, ShowSegmentations
from kauldron.summaries._plots import (
    HistogramSummary,
    ShowFigure,
    ShowPointCloud,
    ShowTexts,
)
from kauldron.summaries._values import Histogram, PointCloud, Video

__all__ = [
    # Values.
    "Histogram",
    "PointCloud",
    "Video",
    # Pictures.
    "ConfusionMatrix",
    "ShowBoxes",
    "ShowDifferenceImages",
    "ShowFigure",
    "ShowImages",
    "ShowSegmentations",
    "ShowVideos",
    # Others.
    "HistogramSummary",
    "ShowPointCloud",
    "ShowTexts",
    # Modules.
    "deprecated",
]

__dir__ = public.publish(__name__)
