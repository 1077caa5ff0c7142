"""`kd.contrib.data`: transforms of videos, images and nests; `py` is for PyGrain."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.data"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "py": f"{_ROOM}.py",
        # Those of `kd.data`.
        "Normalize": "kauldron.data:Normalize",
        "PadOrTruncateTokens": "kauldron.data:PadOrTruncateTokens",
        "PadToShape": "kauldron.data:PadToShape",
        "RandAugment": "kauldron.data:RandAugment",
        # Values.
        "AddBias": f"{_ROOM}._values:AddBias",
        "GaussianBlur": f"{_ROOM}._blur:GaussianBlur",
        "Scale": f"{_ROOM}._values:Scale",
        "Standardize": f"{_ROOM}._values:Standardize",
        # Sizes.
        "FlattenVideo": f"{_ROOM}._space:FlattenVideo",
        "PadFirstDimensionToFixedSize": f"{_ROOM}._padding:PadFirstDimensionToFixedSize",
        "PadToMultiple": f"{_ROOM}._padding:PadToMultiple",
        "RepeatFrames": f"{_ROOM}._clips:RepeatFrames",
        "SpacetimeToDepth": f"{_ROOM}._space:SpacetimeToDepth",
        "ThreeSpatialCrop": f"{_ROOM}._space:ThreeSpatialCrop",
        # Frames.
        "FirstClip": f"{_ROOM}._clips:FirstClip",
        "MiddleClip": f"{_ROOM}._clips:MiddleClip",
        "MultiClip": f"{_ROOM}._clips:MultiClip",
        "RandomClip": f"{_ROOM}._clips:RandomClip",
        # Keys.
        "ElementWiseRandomTransformWithPredicate": (
            f"{_ROOM}._predicates:ElementWiseRandomTransformWithPredicate"
        ),
        "ElementWiseTransformWithPredicate": (
            f"{_ROOM}._predicates:ElementWiseTransformWithPredicate"
        ),
        "TreeUnflattenForKey": f"{_ROOM}._trees:TreeUnflattenForKey",
        "matching_keys": f"{_ROOM}._predicates:matching_keys",
    },
)
