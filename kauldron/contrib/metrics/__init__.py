"""`kd.contrib.metrics`: images, depth, pose, segmentation, point tracking."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.metrics"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Classes.
        "JointAccuracy": f"{_ROOM}._classes:JointAccuracy",
        "MultilabelAveragePrecision": f"{_ROOM}._classes:MultilabelAveragePrecision",
        "SegmentationJaccard": f"{_ROOM}._segmentation:SegmentationJaccard",
        # Values and vectors.
        "CosineSimilarity": f"{_ROOM}._vectors:CosineSimilarity",
        "MeanCov": f"{_ROOM}._vectors:MeanCov",
        "RootMeanSquaredError": "kauldron.metrics:RootMeanSquaredError",
        # Images.
        "FidWithStats": f"{_ROOM}._images:FidWithStats",
        "PsnrWithResize": f"{_ROOM}._images:PsnrWithResize",
        # Depth.
        "Delta1": f"{_ROOM}._depth:Delta1",
        "MeanAbsoluteRelativeError": f"{_ROOM}._depth:MeanAbsoluteRelativeError",
        "RGBMeanAbsoluteRelativeError": f"{_ROOM}._depth:RGBMeanAbsoluteRelativeError",
        # Tracked points.
        "TapAverageJaccard": f"{_ROOM}._tap:TapAverageJaccard",
        "TapOcclusionAccuracy": f"{_ROOM}._tap:TapOcclusionAccuracy",
        "TapPositionAccuracy": f"{_ROOM}._tap:TapPositionAccuracy",
        "Tap3DAverageJaccard": f"{_ROOM}._tap:Tap3DAverageJaccard",
        "Tap3DOcclusionAccuracy": f"{_ROOM}._tap:TapOcclusionAccuracy",
        "Tap3DPositionAccuracy": f"{_ROOM}._tap:Tap3DPositionAccuracy",
        # Poses.
        "MeanPerJointPositionError": f"{_ROOM}._pose:MeanPerJointPositionError",
        "ProcrustesPositionError": f"{_ROOM}._pose:ProcrustesPositionError",
    },
)
