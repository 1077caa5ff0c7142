"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.volumes.losses.mind import Mind as Mind
from kauldron.volumes.losses.mutual_information import MutualInformation as MutualInformation
from kauldron.volumes.losses.smoothness import GradientSmoothness as GradientSmoothness

__all__ = [
    "GradientSmoothness",
    "Mind",
    "MutualInformation",
]
