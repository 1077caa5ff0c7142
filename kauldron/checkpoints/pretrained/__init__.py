"""`kd.ckpts.pretrained`: weights of other frameworks, by rules that are data."""

from __future__ import annotations

from kauldron._base import public
from kauldron.checkpoints.pretrained._files import LAYOUTS, TensorFiles
from kauldron.checkpoints.pretrained._layout import (
    Layout,
    batch_norm,
    conv,
    conv_transpose,
    dense,
    norm,
)
from kauldron.checkpoints.pretrained._loader import PretrainedWeights, save_pretrained
from kauldron.checkpoints.pretrained._rules import Form, Rearrange, Rule

__all__ = [
    "LAYOUTS",
    "Form",
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

__dir__ = public.publish(__name__)
