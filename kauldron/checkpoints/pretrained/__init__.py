"""`kd.ckpts.pretrained`: weights of other frameworks, by rules that are data.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_HERE = "kauldron.checkpoints.pretrained"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "LAYOUTS": f"{_HERE}._files:LAYOUTS",
        "Form": f"{_HERE}._rules:Form",
        "Layout": f"{_HERE}._layout:Layout",
        "PretrainedWeights": f"{_HERE}._loader:PretrainedWeights",
        "Rearrange": f"{_HERE}._rules:Rearrange",
        "Rule": f"{_HERE}._rules:Rule",
        "TensorFiles": f"{_HERE}._files:TensorFiles",
        "batch_norm": f"{_HERE}._layout:batch_norm",
        "conv": f"{_HERE}._layout:conv",
        "conv_transpose": f"{_HERE}._layout:conv_transpose",
        "dense": f"{_HERE}._layout:dense",
        "norm": f"{_HERE}._layout:norm",
        "save_pretrained": f"{_HERE}._loader:save_pretrained",
    },
)
