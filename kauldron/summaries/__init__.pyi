"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.summaries import deprecated as deprecated
from kauldron.summaries._confusion import ConfusionMatrix as ConfusionMatrix
from kauldron.summaries._images import ShowDifferenceImages as ShowDifferenceImages
from kauldron.summaries._images import ShowImages as ShowImages
from kauldron.summaries._images import ShowVideos as ShowVideos
from kauldron.summaries._overlays import ShowBoxes as ShowBoxes
from kauldron.summaries._overlays import ShowSegmentations as ShowSegmentations
from kauldron.summaries._plots import HistogramSummary as HistogramSummary
from kauldron.summaries._plots import ShowFigure as ShowFigure
from kauldron.summaries._plots import ShowPointCloud as ShowPointCloud
from kauldron.summaries._plots import ShowTexts as ShowTexts
from kauldron.summaries._values import Histogram as Histogram
from kauldron.summaries._values import PointCloud as PointCloud
from kauldron.summaries._values import Video as Video

__all__ = [
    "ConfusionMatrix",
    "Histogram",
    "HistogramSummary",
    "PointCloud",
    "ShowBoxes",
    "ShowDifferenceImages",
    "ShowFigure",
    "ShowImages",
    "ShowPointCloud",
    "ShowSegmentations",
    "ShowTexts",
    "ShowVideos",
    "Video",
    "deprecated",
]
