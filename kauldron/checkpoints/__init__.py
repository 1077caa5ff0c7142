"""`kd.ckpts`: saving and restoring runs; changing the initial state."""

from __future__ import annotations

from kauldron.checkpoints import items
from kauldron.checkpoints._base_checkpointer import BaseCheckpointer, NoopCheckpointer
from kauldron.checkpoints._checkpointer import Checkpointer
from kauldron.checkpoints._errors import (
    CheckpointError,
    DamagedCheckpointError,
    NoCheckpointError,
    SaveError,
)
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
    "DamagedCheckpointError",
    "InitTransform",
    "InterpolatePositions",
    "KeepInit",
    "MultiTransform",
    "NoCheckpointError",
    "NoopCheckpointer",
    "NoopTransform",
    "PartialKauldronLoader",
    "Resizer",
    "SaveError",
    "SimpleCheckpointLoader",
    "items",
]
