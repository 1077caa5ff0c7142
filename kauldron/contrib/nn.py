"""Published import path of `kauldron.contrib.modules`."""

from __future__ import annotations

from kauldron.contrib import modules

__getattr__ = modules.__getattr__
__dir__ = modules.__dir__
__all__ = list(modules.__all__)
