"""Published import path of `kauldron.contrib.modules`."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.modules"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        name: f"{_ROOM}:{name}"
        for name in (
            "ReadoutWrapper",
            "get_model_from_xid",
            "knnx",
            "linen_from_equinox",
            "linen_from_nnx",
        )
    },
)
