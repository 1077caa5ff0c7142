"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron._base import frozen_dict as immutabledict
from kauldron._base import root_refs as config_util
from kauldron._base.console import status as status
from kauldron._base.frozen_dict import ImmutableDict as ImmutableDict
from kauldron._base.root_refs import BaseConfig as BaseConfig
from kauldron._base.root_refs import ROOT_CFG_REF as ROOT_CFG_REF
from kauldron._base.root_refs import UpdateFromRootCfg as UpdateFromRootCfg
from kauldron.recording import chrono as chrono
from kauldron.utils import colab as colab
from kauldron.utils import sharding_utils as sharding_utils
from kauldron.utils import utils as utils

__all__ = [
    "BaseConfig",
    "ImmutableDict",
    "ROOT_CFG_REF",
    "UpdateFromRootCfg",
    "chrono",
    "colab",
    "config_util",
    "immutabledict",
    "sharding_utils",
    "status",
    "utils",
]
