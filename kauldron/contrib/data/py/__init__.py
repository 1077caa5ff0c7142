"""`kd.contrib.data.py`: PyGrain transforms."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.data"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ElementWiseRandomTransformWithPredicate": (
            f"{_ROOM}._predicates:ElementWiseRandomTransformWithPredicate"
        ),
        "ElementWiseTransformWithPredicate": (
            f"{_ROOM}._predicates:ElementWiseTransformWithPredicate"
        ),
        "FlipUpsideDown": f"{_ROOM}._space:FlipUpsideDown",
        "PadImage": f"{_ROOM}._padding:PadImage",
    },
)
