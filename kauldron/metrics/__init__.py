"""Measuring: `get_state` inside jit, `merge` anywhere, `compute` on the host."""

from __future__ import annotations

from kauldron.metrics._classification import Accuracy
from kauldron.metrics._norm import Norm
from kauldron.metrics.base import Metric, NoopMetric
from kauldron.metrics.base_state import AverageState, EmptyState, State

__all__ = [
    "Accuracy",
    "AverageState",
    "EmptyState",
    "Metric",
    "NoopMetric",
    "Norm",
    "State",
]
