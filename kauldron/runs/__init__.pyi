"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.runs import replay as replay
from kauldron.runs import reproduction as reproduction
from kauldron.runs._checkpoint_eval import OutputFolderError as OutputFolderError
from kauldron.runs._checkpoint_eval import evaluate_checkpoint as evaluate_checkpoint
from kauldron.runs._fitting_transforms import fitting_transforms as fitting_transforms
from kauldron.runs._folders import is_folder as is_folder
from kauldron.runs._folders import write_folder as write_folder
from kauldron.runs._predictor import Predictor as Predictor
from kauldron.runs._predictor import check_suffix as check_suffix
from kauldron.runs._predictor import default_keys as default_keys
from kauldron.runs._saved_state import PredictError as PredictError
from kauldron.runs._saved_state import element_spec as element_spec
from kauldron.runs._saved_state import restore_member as restore_member
from kauldron.runs._saved_state import restore_state as restore_state

__all__ = [
    "OutputFolderError",
    "PredictError",
    "Predictor",
    "check_suffix",
    "default_keys",
    "element_spec",
    "evaluate_checkpoint",
    "fitting_transforms",
    "is_folder",
    "replay",
    "reproduction",
    "restore_member",
    "restore_state",
    "write_folder",
]
