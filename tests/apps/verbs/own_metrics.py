"""Metrics of somebody's own: code outside of Kauldron that an app may name."""

from __future__ import annotations

import dataclasses

from kauldron import kd


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnAccuracy(kd.metrics.Accuracy):
    """Accuracy, in a class of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnDice(kd.volumes.metrics.Dice):
    """Dice, in a class of its own."""
