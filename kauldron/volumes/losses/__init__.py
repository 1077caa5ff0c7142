"""`kd.volumes.losses`: losses of volumes.

Losses of regions (Dice, Tversky, focal) and the correlation of images, whole or in windows,
are in `kd.losses`: they are the same in two and in three dimensions.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.losses"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "GradientSmoothness": f"{_ROOM}.smoothness:GradientSmoothness",
        "Mind": f"{_ROOM}.mind:Mind",
        "MutualInformation": f"{_ROOM}.mutual_information:MutualInformation",
    },
)
