"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.data._padding import PadImage as PadImage
from kauldron.contrib.data._predicates import ElementWiseRandomTransformWithPredicate as ElementWiseRandomTransformWithPredicate
from kauldron.contrib.data._predicates import ElementWiseTransformWithPredicate as ElementWiseTransformWithPredicate
from kauldron.contrib.data._space import FlipUpsideDown as FlipUpsideDown

__all__ = [
    "ElementWiseRandomTransformWithPredicate",
    "ElementWiseTransformWithPredicate",
    "FlipUpsideDown",
    "PadImage",
]
