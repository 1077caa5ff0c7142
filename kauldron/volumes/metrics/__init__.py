"""`kd.volumes.metrics`: measures of volumes, in millimetres."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.metrics"

__getattr__, __dir__, __all__ = lazy.attach(__name__, {})
