"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.volumes.transforms.base import Box as Box
from kauldron.volumes.transforms.base import Halo as Halo
from kauldron.volumes.transforms.base import Kind as Kind
from kauldron.volumes.transforms.base import Others as Others
from kauldron.volumes.transforms.base import Part as Part
from kauldron.volumes.transforms.base import Point as Point
from kauldron.volumes.transforms.base import PointTransform as PointTransform
from kauldron.volumes.transforms.base import Reach as Reach
from kauldron.volumes.transforms.base import Same as Same
from kauldron.volumes.transforms.base import Undo as Undo
from kauldron.volumes.transforms.base import VolumeTransform as VolumeTransform
from kauldron.volumes.transforms.base import Whole as Whole
from kauldron.volumes.transforms.boxes import BoxTransform as BoxTransform
from kauldron.volumes.transforms.boxes import Crop as Crop
from kauldron.volumes.transforms.boxes import Flip as Flip
from kauldron.volumes.transforms.boxes import Pad as Pad
from kauldron.volumes.transforms.boxes import Permute as Permute
from kauldron.volumes.transforms.cache import CacheToDisk as CacheToDisk
from kauldron.volumes.transforms.chain import Chain as Chain
from kauldron.volumes.transforms.chain import Opened as Opened
from kauldron.volumes.transforms.chain import opened as opened
from kauldron.volumes.transforms.chain import read_region as read_region
from kauldron.volumes.transforms.foreground import CropToForeground as CropToForeground
from kauldron.volumes.transforms.foreground import Mask as Mask
from kauldron.volumes.transforms.gradients import Gradient as Gradient
from kauldron.volumes.transforms.gradients import VectorUnits as VectorUnits
from kauldron.volumes.transforms.histograms import HistogramMatching as HistogramMatching
from kauldron.volumes.transforms.histograms import Statistics as Statistics
from kauldron.volumes.transforms.histograms import quantiles_of as quantiles_of
from kauldron.volumes.transforms.intensity import Clip as Clip
from kauldron.volumes.transforms.intensity import IntensityWindows as IntensityWindows
from kauldron.volumes.transforms.intensity import Normalize as Normalize
from kauldron.volumes.transforms.intensity import Replace as Replace
from kauldron.volumes.transforms.intensity import Standardize as Standardize
from kauldron.volumes.transforms.labels import Argmax as Argmax
from kauldron.volumes.transforms.labels import Dilate as Dilate
from kauldron.volumes.transforms.labels import MergeLabels as MergeLabels
from kauldron.volumes.transforms.labels import OneHot as OneHot
from kauldron.volumes.transforms.labels import SelectLabels as SelectLabels
from kauldron.volumes.transforms.labels import Softmax as Softmax
from kauldron.volumes.transforms.orientation import Reorient as Reorient
from kauldron.volumes.transforms.orientation import orientation_of as orientation_of
from kauldron.volumes.transforms.resampling import Resample as Resample

__all__ = [
    "Argmax",
    "Box",
    "BoxTransform",
    "CacheToDisk",
    "Chain",
    "Clip",
    "Crop",
    "CropToForeground",
    "Dilate",
    "Flip",
    "Gradient",
    "Halo",
    "HistogramMatching",
    "IntensityWindows",
    "Kind",
    "Mask",
    "MergeLabels",
    "Normalize",
    "OneHot",
    "Opened",
    "Others",
    "Pad",
    "Part",
    "Permute",
    "Point",
    "PointTransform",
    "Reach",
    "Reorient",
    "Replace",
    "Resample",
    "Same",
    "SelectLabels",
    "Softmax",
    "Standardize",
    "Statistics",
    "Undo",
    "VectorUnits",
    "VolumeTransform",
    "Whole",
    "opened",
    "orientation_of",
    "quantiles_of",
    "read_region",
]
