"""Working with existing runs: predict, evaluate a checkpoint, replay a step, rerun.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_PREDICTOR = "kauldron.runs._predictor"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "Predictor": f"{_PREDICTOR}:Predictor",
        "check_suffix": f"{_PREDICTOR}:check_suffix",
        "default_keys": f"{_PREDICTOR}:default_keys",
        "element_spec": "kauldron.runs._saved_state:element_spec",
        "restore_member": "kauldron.runs._saved_state:restore_member",
        "restore_state": "kauldron.runs._saved_state:restore_state",
        "fitting_transforms": "kauldron.runs._fitting_transforms:fitting_transforms",
        "is_folder": "kauldron.runs._folders:is_folder",
        "write_folder": "kauldron.runs._folders:write_folder",
        "evaluate_checkpoint": "kauldron.runs._checkpoint_eval:evaluate_checkpoint",
        # What is wrong.
        "OutputFolderError": "kauldron.runs._checkpoint_eval:OutputFolderError",
        "PredictError": "kauldron.runs._saved_state:PredictError",
        # Modules.
        "replay": "kauldron.runs.replay",
        "reproduction": "kauldron.runs.reproduction",
    },
)
