"""Functions applied to saved arrays, for `transform={glob: function}`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.checkpoints import _errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transpose:
    """Permutes the axes of an array, as `np.transpose` does.

    Attributes:
      axes: Axis of the saved array for each axis of the result, such as `(2, 0, 1)`.

    Raises:
      CheckpointError: If an array has a different number of axes.
    """

    axes: Sequence[int]

    def __call__(self, saved: np.ndarray) -> np.ndarray:
        if sorted(self.axes) != list(range(saved.ndim)):
            raise _errors.CheckpointError(
                f"`Transpose(axes={tuple(self.axes)})` does not name each axis of an "
                f"array of shape {saved.shape} once."
            )
        return np.transpose(saved, self.axes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchKernel:
    """Converts a PyTorch `weight` to a Flax `kernel`.

    `[out, in, *space]`, as `torch.nn.Linear` and `torch.nn.Conv1d` to `Conv3d` have it,
    becomes `[*space, in, out]`. Embeddings have the same order in both.

    Raises:
      CheckpointError: If an array has fewer than two axes.
    """

    def __call__(self, saved: np.ndarray) -> np.ndarray:
        if saved.ndim < 2:
            raise _errors.CheckpointError(
                f"`TorchKernel` turns [out, in, ...]: got the shape {saved.shape}."
            )
        return np.transpose(saved, (*range(2, saved.ndim), 1, 0))
