"""Published import path of the training step."""

from __future__ import annotations

from kauldron.sharding import TrainState
from kauldron.step import TrainStep, forward, forward_with_loss

__all__ = ["TrainState", "TrainStep", "forward", "forward_with_loss"]
