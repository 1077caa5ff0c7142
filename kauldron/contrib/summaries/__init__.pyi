"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.summaries._confusion import ConfusionMatrix as ConfusionMatrix
from kauldron.contrib.summaries._grid import ImageGrid as ImageGrid
from kauldron.contrib.summaries._print import Print as Print
from kauldron.summaries import ShowVideos as ShowVideosAsGif

__all__ = [
    "ConfusionMatrix",
    "ImageGrid",
    "Print",
    "ShowVideosAsGif",
]
