"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.modules import knnx as knnx
from kauldron.contrib.modules._equinox import linen_from_equinox as linen_from_equinox
from kauldron.contrib.modules._readout import ReadoutWrapper as ReadoutWrapper
from kauldron.contrib.modules._xid import get_model_from_xid as get_model_from_xid
from kauldron.contrib.modules.knnx import linen_from_nnx as linen_from_nnx

__all__ = [
    "ReadoutWrapper",
    "get_model_from_xid",
    "knnx",
    "linen_from_equinox",
    "linen_from_nnx",
]
