"""`kd.contrib.losses`: region losses and weighted losses."""

from __future__ import annotations

from kauldron._base import lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "DiceLoss": "kauldron.losses:DiceLoss",
        "IoULoss": "kauldron.contrib.losses._regions:IoULoss",
        "SigmoidFocalLoss": "kauldron.losses:SigmoidFocalLoss",
        "WeightedL1": "kauldron.contrib.losses._weighted:WeightedL1",
    },
)
