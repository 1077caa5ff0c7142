"""`kd.ckpts`: saving and restoring runs; changing the initial state."""

from __future__ import annotations

from kauldron._base import public
from kauldron.checkpoints import items, pretrained
from kauldron.checkpoints._array_functions import TorchKernel, Transpose
from kauldron.checkpoints._base_checkpointer import BaseCheckpointer, NoopCheckpointer
from kauldron.checkpoints._checkpointer import Checkpointer
from kauldron.checkpoints._errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchError,
    NoCheckpointError,
    SaveError,
)
from kauldron.checkpoints._init_transforms import (
    InitTransform,
    MultiTransform,
    NoopTransform,
)
from kauldron.checkpoints._inspection import (
    describe_arrays,
    describe_steps,
    diff_arrays,
    export_arrays,
    find_damage,
    list_steps,
    split_step,
)
from kauldron.checkpoints._load_arrays import load_arrays
from kauldron.checkpoints._loaders import (
    PartialKauldronLoader,
    SafetensorsLoader,
    SimpleCheckpointLoader,
)
from kauldron.checkpoints._reader import CheckpointGoneError, CheckpointReader
from kauldron.checkpoints._restoring import newest_intact
from kauldron.checkpoints._safetensors import SafetensorsFiles, save_safetensors
from kauldron.checkpoints._shape_changes import (
    CopyOverlap,
    InterpolatePositions,
    KeepInit,
    Resizer,
)
from kauldron.checkpoints._step_choice import resolve_step
from kauldron.checkpoints._xid import workdir_from_xid
from kauldron.checkpoints.pretrained import PretrainedWeights, save_pretrained
from kauldron.workdir.ranking import best_step, is_better

__all__ = [
    "BaseCheckpointer",
    "CheckpointError",
    "CheckpointGoneError",
    "CheckpointReader",
    "Checkpointer",
    "CopyOverlap",
    "DamagedCheckpointError",
    "InitTransform",
    "InterpolatePositions",
    "KeepInit",
    "MismatchError",
    "MultiTransform",
    "NoCheckpointError",
    "NoopCheckpointer",
    "NoopTransform",
    "PartialKauldronLoader",
    "PretrainedWeights",
    "Resizer",
    "SafetensorsFiles",
    "SafetensorsLoader",
    "SaveError",
    "SimpleCheckpointLoader",
    "TorchKernel",
    "Transpose",
    "best_step",
    "describe_arrays",
    "describe_steps",
    "diff_arrays",
    "export_arrays",
    "find_damage",
    "newest_intact",
    "items",
    "is_better",
    "list_steps",
    "load_arrays",
    "pretrained",
    "resolve_step",
    "save_pretrained",
    "save_safetensors",
    "split_step",
    "workdir_from_xid",
]

__dir__ = public.publish(__name__)
