"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.cli import config as config
from kauldron.cli import data as data
from kauldron.cli._origin import ConfigOrigin as ConfigOrigin
from kauldron.testing.small_runs import PatchConfig as PatchConfig

__all__ = [
    "ConfigOrigin",
    "PatchConfig",
    "config",
    "data",
]
