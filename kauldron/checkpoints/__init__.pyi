"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.checkpoints import items as items
from kauldron.checkpoints import pretrained as pretrained
from kauldron.checkpoints._array_functions import TorchKernel as TorchKernel
from kauldron.checkpoints._array_functions import Transpose as Transpose
from kauldron.checkpoints._base_checkpointer import BaseCheckpointer as BaseCheckpointer
from kauldron.checkpoints._base_checkpointer import NoopCheckpointer as NoopCheckpointer
from kauldron.checkpoints._checkpointer import Checkpointer as Checkpointer
from kauldron.checkpoints._errors import CheckpointError as CheckpointError
from kauldron.checkpoints._errors import DamagedCheckpointError as DamagedCheckpointError
from kauldron.checkpoints._errors import MismatchError as MismatchError
from kauldron.checkpoints._errors import NoCheckpointError as NoCheckpointError
from kauldron.checkpoints._errors import SaveError as SaveError
from kauldron.checkpoints._init_transforms import InitTransform as InitTransform
from kauldron.checkpoints._init_transforms import MultiTransform as MultiTransform
from kauldron.checkpoints._init_transforms import NoopTransform as NoopTransform
from kauldron.checkpoints._inspection import describe_arrays as describe_arrays
from kauldron.checkpoints._inspection import describe_steps as describe_steps
from kauldron.checkpoints._inspection import diff_arrays as diff_arrays
from kauldron.checkpoints._inspection import export_arrays as export_arrays
from kauldron.checkpoints._inspection import find_damage as find_damage
from kauldron.checkpoints._inspection import list_steps as list_steps
from kauldron.checkpoints._inspection import split_step as split_step
from kauldron.checkpoints._load_arrays import load_arrays as load_arrays
from kauldron.checkpoints._loaders import PartialKauldronLoader as PartialKauldronLoader
from kauldron.checkpoints._loaders import SafetensorsLoader as SafetensorsLoader
from kauldron.checkpoints._loaders import SimpleCheckpointLoader as SimpleCheckpointLoader
from kauldron.checkpoints._reader import CheckpointGoneError as CheckpointGoneError
from kauldron.checkpoints._reader import CheckpointReader as CheckpointReader
from kauldron.checkpoints._restoring import newest_intact as newest_intact
from kauldron.checkpoints._safetensors import SafetensorsFiles as SafetensorsFiles
from kauldron.checkpoints._safetensors import save_safetensors as save_safetensors
from kauldron.checkpoints._shape_changes import CopyOverlap as CopyOverlap
from kauldron.checkpoints._shape_changes import InterpolatePositions as InterpolatePositions
from kauldron.checkpoints._shape_changes import KeepInit as KeepInit
from kauldron.checkpoints._shape_changes import Resizer as Resizer
from kauldron.checkpoints._step_choice import resolve_step as resolve_step
from kauldron.checkpoints._xid import workdir_from_xid as workdir_from_xid
from kauldron.checkpoints.pretrained import PretrainedWeights as PretrainedWeights
from kauldron.checkpoints.pretrained import save_pretrained as save_pretrained
from kauldron.workdir.ranking import best_step as best_step
from kauldron.workdir.ranking import is_better as is_better

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
    "is_better",
    "items",
    "list_steps",
    "load_arrays",
    "newest_intact",
    "pretrained",
    "resolve_step",
    "save_pretrained",
    "save_safetensors",
    "split_step",
    "workdir_from_xid",
]
