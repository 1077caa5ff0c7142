"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.losses._regions import IoULoss as IoULoss
from kauldron.contrib.losses._weighted import WeightedL1 as WeightedL1
from kauldron.losses import DiceLoss as DiceLoss
from kauldron.losses import SigmoidFocalLoss as SigmoidFocalLoss

__all__ = [
    "DiceLoss",
    "IoULoss",
    "SigmoidFocalLoss",
    "WeightedL1",
]
