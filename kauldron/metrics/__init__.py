"""Measuring: `get_state` inside jit, `merge` anywhere, `compute` on the host."""

from __future__ import annotations

from kauldron.metrics._classification import Accuracy
from kauldron.metrics._norm import Norm
from kauldron.metrics.auto_state import (
    AutoState,
    concat_field,
    max_field,
    min_field,
    state_field,
    static_field,
    sum_field,
    truncate_field,
)
from kauldron.metrics.base import (
    Metric,
    NoopMetric,
    SkipIfMissing,
    TreeMap,
    TreeReduce,
    TreeState,
)
from kauldron.metrics.base_state import (
    AverageState,
    CollectFirstState,
    CollectingState,
    EmptyState,
    State,
)

__all__ = [
    # The protocol.
    "Metric",
    "State",
    # States.
    "AutoState",
    "AverageState",
    "CollectFirstState",
    "CollectingState",
    "EmptyState",
    "TreeState",
    "concat_field",
    "max_field",
    "min_field",
    "state_field",
    "static_field",
    "sum_field",
    "truncate_field",
    # Wrappers.
    "NoopMetric",
    "SkipIfMissing",
    "TreeMap",
    "TreeReduce",
    # Members.
    "Accuracy",
    "Norm",
]
