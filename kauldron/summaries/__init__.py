"""Summaries: metrics whose values are images, text, histograms or plots.

What `compute` may return, and a writer has to show: images `Float32["n h w 1|3"]` in
[0, 1], a string, an array of strings, a `Histogram`, a `PointCloud`, or a `Video`.
Nothing is imported before it is used: these values need no JAX.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.summaries"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Values.
        "Histogram": f"{_HERE}._values:Histogram",
        "PointCloud": f"{_HERE}._values:PointCloud",
        "Video": f"{_HERE}._values:Video",
        # Pictures.
        "ConfusionMatrix": f"{_HERE}._confusion:ConfusionMatrix",
        "ShowBoxes": f"{_HERE}._overlays:ShowBoxes",
        "ShowDifferenceImages": f"{_HERE}._images:ShowDifferenceImages",
        "ShowFigure": f"{_HERE}._plots:ShowFigure",
        "ShowImages": f"{_HERE}._images:ShowImages",
        "ShowSegmentations": f"{_HERE}._overlays:ShowSegmentations",
        "ShowVideos": f"{_HERE}._images:ShowVideos",
        # Others.
        "HistogramSummary": f"{_HERE}._plots:HistogramSummary",
        "ShowPointCloud": f"{_HERE}._plots:ShowPointCloud",
        "ShowTexts": f"{_HERE}._plots:ShowTexts",
        # Modules.
        "deprecated": f"{_HERE}.deprecated",
    },
)
