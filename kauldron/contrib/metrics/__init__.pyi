"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.metrics._classes import JointAccuracy as JointAccuracy
from kauldron.contrib.metrics._classes import MultilabelAveragePrecision as MultilabelAveragePrecision
from kauldron.contrib.metrics._depth import Delta1 as Delta1
from kauldron.contrib.metrics._depth import MeanAbsoluteRelativeError as MeanAbsoluteRelativeError
from kauldron.contrib.metrics._depth import RGBMeanAbsoluteRelativeError as RGBMeanAbsoluteRelativeError
from kauldron.contrib.metrics._images import FidWithStats as FidWithStats
from kauldron.contrib.metrics._images import PsnrWithResize as PsnrWithResize
from kauldron.contrib.metrics._pose import MeanPerJointPositionError as MeanPerJointPositionError
from kauldron.contrib.metrics._pose import ProcrustesPositionError as ProcrustesPositionError
from kauldron.contrib.metrics._segmentation import SegmentationJaccard as SegmentationJaccard
from kauldron.contrib.metrics._tap import Tap3DAverageJaccard as Tap3DAverageJaccard
from kauldron.contrib.metrics._tap import Tap3DPositionAccuracy as Tap3DPositionAccuracy
from kauldron.contrib.metrics._tap import TapAverageJaccard as TapAverageJaccard
from kauldron.contrib.metrics._tap import TapOcclusionAccuracy as Tap3DOcclusionAccuracy
from kauldron.contrib.metrics._tap import TapOcclusionAccuracy as TapOcclusionAccuracy
from kauldron.contrib.metrics._tap import TapPositionAccuracy as TapPositionAccuracy
from kauldron.contrib.metrics._vectors import CosineSimilarity as CosineSimilarity
from kauldron.contrib.metrics._vectors import MeanCov as MeanCov
from kauldron.metrics import RootMeanSquaredError as RootMeanSquaredError

__all__ = [
    "CosineSimilarity",
    "Delta1",
    "FidWithStats",
    "JointAccuracy",
    "MeanAbsoluteRelativeError",
    "MeanCov",
    "MeanPerJointPositionError",
    "MultilabelAveragePrecision",
    "ProcrustesPositionError",
    "PsnrWithResize",
    "RGBMeanAbsoluteRelativeError",
    "RootMeanSquaredError",
    "SegmentationJaccard",
    "Tap3DAverageJaccard",
    "Tap3DOcclusionAccuracy",
    "Tap3DPositionAccuracy",
    "TapAverageJaccard",
    "TapOcclusionAccuracy",
    "TapPositionAccuracy",
]
