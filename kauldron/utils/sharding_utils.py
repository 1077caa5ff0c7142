"""Published import path of `kauldron.sharding`."""

from kauldron import sharding

__all__ = ["sharding"]
