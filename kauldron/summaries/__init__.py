"""Summaries: metrics whose value is something to look at."""

from __future__ import annotations

from kauldron.summaries._images import ShowImages

__all__ = ["ShowImages"]
