"""Confusion matrices with their published arguments."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron import kontext, summaries


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfusionMatrix(summaries.ConfusionMatrix):
    """As `kd.summaries.ConfusionMatrix`, whose `mask` is called `sample_weight` here.

    Attributes:
      sample_weight: Key to weights, `Array["*b 1"]`.
    """

    sample_weight: kontext.Key | None = None

    def get_state(self, *, sample_weight: Any = None, **kwargs: Any) -> Any:
        if sample_weight is not None:
            if kwargs.get("mask") is not None:
                raise ValueError("`mask` and `sample_weight` are the same: give one.")
            kwargs["mask"] = sample_weight
        return super().get_state(**kwargs)
