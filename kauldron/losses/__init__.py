"""Losses: metrics whose state is a weighted mean and whose values are trained on."""

from __future__ import annotations

from kauldron.losses._classification import SoftmaxCrossEntropyWithIntLabels
from kauldron.losses._regression import L2
from kauldron.losses.base import Loss, compute_losses

__all__ = ["L2", "Loss", "SoftmaxCrossEntropyWithIntLabels", "compute_losses"]
