"""Published import path of `Chrono`."""

from __future__ import annotations

from kauldron.recording import Chrono, Pause

__all__ = ["Chrono", "Pause"]
