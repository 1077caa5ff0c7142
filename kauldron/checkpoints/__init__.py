"""`kd.ckpts`: saving and restoring runs; changing the initial state."""

from __future__ import annotations

from kauldron.checkpoints import items
from kauldron.checkpoints._checkpointer import (
    BaseCheckpointer,
    Checkpointer,
    NoopCheckpointer,
)
from kauldron.checkpoints._errors import CheckpointError, NoCheckpointError
from kauldron.checkpoints._init_transforms import (
    InitTransform,
    MultiTransform,
    NoopTransform,
)
from kauldron.checkpoints._loaders import PartialKauldronLoader, SimpleCheckpointLoader
from kauldron.checkpoints._resizing import (
    CopyOverlap,
    InterpolatePositions,
    KeepInit,
    Resizer,
)

__all__ = [
    "BaseCheckpointer",
    "CheckpointError",
    "Checkpointer",
    "CopyOverlap",
    "InitTransform",
    "InterpolatePositions",
    "KeepInit",
    "MultiTransform",
    "NoCheckpointError",
    "NoopCheckpointer",
    "NoopTransform",
    "PartialKauldronLoader",
    "Resizer",
    "SimpleCheckpointLoader",
    "items",
]
