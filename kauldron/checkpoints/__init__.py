"""`kd.ckpts`: saving and restoring runs; changing the initial state.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.checkpoints"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "BaseCheckpointer": f"{_HERE}._base_checkpointer:BaseCheckpointer",
        "CheckpointError": f"{_HERE}._errors:CheckpointError",
        "CheckpointGoneError": f"{_HERE}._reader:CheckpointGoneError",
        "CheckpointReader": f"{_HERE}._reader:CheckpointReader",
        "Checkpointer": f"{_HERE}._checkpointer:Checkpointer",
        "CopyOverlap": f"{_HERE}._shape_changes:CopyOverlap",
        "DamagedCheckpointError": f"{_HERE}._errors:DamagedCheckpointError",
        "InitTransform": f"{_HERE}._init_transforms:InitTransform",
        "InterpolatePositions": f"{_HERE}._shape_changes:InterpolatePositions",
        "KeepInit": f"{_HERE}._shape_changes:KeepInit",
        "MismatchError": f"{_HERE}._errors:MismatchError",
        "MultiTransform": f"{_HERE}._init_transforms:MultiTransform",
        "NoCheckpointError": f"{_HERE}._errors:NoCheckpointError",
        "NoopCheckpointer": f"{_HERE}._base_checkpointer:NoopCheckpointer",
        "NoopTransform": f"{_HERE}._init_transforms:NoopTransform",
        "PartialKauldronLoader": f"{_HERE}._loaders:PartialKauldronLoader",
        "PretrainedWeights": f"{_HERE}.pretrained:PretrainedWeights",
        "Resizer": f"{_HERE}._shape_changes:Resizer",
        "SafetensorsFiles": f"{_HERE}._safetensors:SafetensorsFiles",
        "SafetensorsLoader": f"{_HERE}._loaders:SafetensorsLoader",
        "SaveError": f"{_HERE}._errors:SaveError",
        "SimpleCheckpointLoader": f"{_HERE}._loaders:SimpleCheckpointLoader",
        "TorchKernel": f"{_HERE}._array_functions:TorchKernel",
        "Transpose": f"{_HERE}._array_functions:Transpose",
        "best_step": "kauldron.workdir.ranking:best_step",
        "describe_arrays": f"{_HERE}._inspection:describe_arrays",
        "describe_steps": f"{_HERE}._inspection:describe_steps",
        "diff_arrays": f"{_HERE}._inspection:diff_arrays",
        "export_arrays": f"{_HERE}._inspection:export_arrays",
        "find_damage": f"{_HERE}._inspection:find_damage",
        "newest_intact": f"{_HERE}._restoring:newest_intact",
        "items": f"{_HERE}.items",
        "is_better": "kauldron.workdir.ranking:is_better",
        "list_steps": f"{_HERE}._inspection:list_steps",
        "load_arrays": f"{_HERE}._load_arrays:load_arrays",
        "pretrained": f"{_HERE}.pretrained",
        "resolve_step": f"{_HERE}._step_choice:resolve_step",
        "save_pretrained": f"{_HERE}.pretrained:save_pretrained",
        "save_safetensors": f"{_HERE}._safetensors:save_safetensors",
        "split_step": f"{_HERE}._inspection:split_step",
        "workdir_from_xid": f"{_HERE}._xid:workdir_from_xid",
    },
)
