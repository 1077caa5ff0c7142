"""`kd.volumes.losses`: losses of volumes."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.volumes.losses"

__getattr__, __dir__, __all__ = lazy.attach(__name__, {})
