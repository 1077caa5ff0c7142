"""CLU checkpoint loaders: unavailable, because they need TensorFlow."""

from __future__ import annotations

from typing import Any

from kauldron._base import errors


class NeedsTensorFlowError(errors.UserError, NotImplementedError):
    """Something that only TensorFlow can read was asked for."""


class PartialCLULoader:
    """Not available: checkpoints of CLU are files of TensorFlow."""

    def __init__(self, ckpt_dir: Any = None, new_to_old: Any = None) -> None:
        raise NeedsTensorFlowError(
            f"PartialCLULoader(ckpt_dir={ckpt_dir!r}): checkpoints of CLU are read with "
            "TensorFlow, which this package does without. Convert it once, where "
            "TensorFlow is, with `safetensors.numpy.save_file(arrays, file)`; then "
            "`kd.ckpts.SafetensorsLoader` loads it."
        )
