"""`kd.contrib.nn`: wrapper modules and readout heads."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.modules"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "ReadoutWrapper": f"{_ROOM}._readout:ReadoutWrapper",
        "get_model_from_xid": f"{_ROOM}._xid:get_model_from_xid",
        "knnx": f"{_ROOM}.knnx",
        "linen_from_equinox": f"{_ROOM}._equinox:linen_from_equinox",
        "linen_from_nnx": f"{_ROOM}.knnx:linen_from_nnx",
    },
)
