"""Published import path of `kauldron.contrib.modules.knnx`."""

from __future__ import annotations

from kauldron.contrib.modules.knnx import (
    KdNnxModule,
    LinenModuleFromNnxDef,
    linen_from_nnx,
)

__all__ = ["KdNnxModule", "LinenModuleFromNnxDef", "linen_from_nnx"]
