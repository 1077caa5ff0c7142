"""Published import path of `Context`."""

from __future__ import annotations

from kauldron.step import Context

__all__ = ["Context"]
