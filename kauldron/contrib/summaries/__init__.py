"""`kd.contrib.summaries`: confusion matrices, image grids, printed values."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ConfusionMatrix": "kauldron.contrib.summaries._confusion:ConfusionMatrix",
        "ImageGrid": "kauldron.contrib.summaries._grid:ImageGrid",
        "Print": "kauldron.contrib.summaries._print:Print",
        "ShowVideosAsGif": "kauldron.summaries:ShowVideos",
    },
)
