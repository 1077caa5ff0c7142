"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.data import py as py
from kauldron.contrib.data._blur import GaussianBlur as GaussianBlur
from kauldron.contrib.data._clips import FirstClip as FirstClip
from kauldron.contrib.data._clips import MiddleClip as MiddleClip
from kauldron.contrib.data._clips import MultiClip as MultiClip
from kauldron.contrib.data._clips import RandomClip as RandomClip
from kauldron.contrib.data._clips import RepeatFrames as RepeatFrames
from kauldron.contrib.data._padding import PadFirstDimensionToFixedSize as PadFirstDimensionToFixedSize
from kauldron.contrib.data._padding import PadToMultiple as PadToMultiple
from kauldron.contrib.data._predicates import ElementWiseRandomTransformWithPredicate as ElementWiseRandomTransformWithPredicate
from kauldron.contrib.data._predicates import ElementWiseTransformWithPredicate as ElementWiseTransformWithPredicate
from kauldron.contrib.data._predicates import matching_keys as matching_keys
from kauldron.contrib.data._space import FlattenVideo as FlattenVideo
from kauldron.contrib.data._space import SpacetimeToDepth as SpacetimeToDepth
from kauldron.contrib.data._space import ThreeSpatialCrop as ThreeSpatialCrop
from kauldron.contrib.data._trees import TreeUnflattenForKey as TreeUnflattenForKey
from kauldron.contrib.data._values import AddBias as AddBias
from kauldron.contrib.data._values import Scale as Scale
from kauldron.contrib.data._values import Standardize as Standardize
from kauldron.data import Normalize as Normalize
from kauldron.data import PadOrTruncateTokens as PadOrTruncateTokens
from kauldron.data import PadToShape as PadToShape
from kauldron.data import RandAugment as RandAugment

__all__ = [
    "AddBias",
    "ElementWiseRandomTransformWithPredicate",
    "ElementWiseTransformWithPredicate",
    "FirstClip",
    "FlattenVideo",
    "GaussianBlur",
    "MiddleClip",
    "MultiClip",
    "Normalize",
    "PadFirstDimensionToFixedSize",
    "PadOrTruncateTokens",
    "PadToMultiple",
    "PadToShape",
    "RandAugment",
    "RandomClip",
    "RepeatFrames",
    "Scale",
    "SpacetimeToDepth",
    "Standardize",
    "ThreeSpatialCrop",
    "TreeUnflattenForKey",
    "matching_keys",
    "py",
]
