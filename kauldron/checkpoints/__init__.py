"""`kd.ckpts`: saving and restoring runs; changing the initial state."""

from __future__ import annotations

from kauldron.checkpoints import items
from kauldron.checkpoints._checkpointer import (
    BaseCheckpointer,
    Checkpointer,
    CheckpointError,
    NoopCheckpointer,
)
from kauldron.checkpoints._init_transforms import (
    InitTransform,
    MultiTransform,
    NoopTransform,
)
from kauldron.checkpoints._reader import CheckpointGoneError, CheckpointReader

__all__ = [
    "BaseCheckpointer",
    "CheckpointError",
    "CheckpointGoneError",
    "CheckpointReader",
    "Checkpointer",
    "InitTransform",
    "MultiTransform",
    "NoopCheckpointer",
    "NoopTransform",
    "items",
]
