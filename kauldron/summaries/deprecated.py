"""Deprecated names for writing summaries: they say what to use instead."""

from __future__ import annotations

from typing import Any


class Summary:
    """Was the base of summaries."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"`summaries.{type(self).__name__}` is no longer supported: a summary is a "
            "`kd.metrics.Metric` whose state computes images or texts, as "
            "`kd.summaries.ShowImages`."
        )


class ImageSummary(Summary):
    """Was the base of summaries of images."""
