"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.checkpoints.pretrained._files import LAYOUTS as LAYOUTS
from kauldron.checkpoints.pretrained._files import TensorFiles as TensorFiles
from kauldron.checkpoints.pretrained._layout import Layout as Layout
from kauldron.checkpoints.pretrained._layout import batch_norm as batch_norm
from kauldron.checkpoints.pretrained._layout import conv as conv
from kauldron.checkpoints.pretrained._layout import conv_transpose as conv_transpose
from kauldron.checkpoints.pretrained._layout import dense as dense
from kauldron.checkpoints.pretrained._layout import norm as norm
from kauldron.checkpoints.pretrained._loader import PretrainedWeights as PretrainedWeights
from kauldron.checkpoints.pretrained._loader import save_pretrained as save_pretrained
from kauldron.checkpoints.pretrained._rules import Form as Form
from kauldron.checkpoints.pretrained._rules import Rearrange as Rearrange
from kauldron.checkpoints.pretrained._rules import Rule as Rule

__all__ = [
    "Form",
    "LAYOUTS",
    "Layout",
    "PretrainedWeights",
    "Rearrange",
    "Rule",
    "TensorFiles",
    "batch_norm",
    "conv",
    "conv_transpose",
    "dense",
    "norm",
    "save_pretrained",
]
