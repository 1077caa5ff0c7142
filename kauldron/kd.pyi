"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron import apps as apps
from kauldron import checkpoints as ckpts
from kauldron import cli as cli
from kauldron import contrib as contrib
from kauldron import data as data
from kauldron import errors as errors
from kauldron import evals as evals
from kauldron import export as export
from kauldron import inspect as inspect
from kauldron import konfig as konfig
from kauldron import kontext as kontext
from kauldron import ktyping as ktyping
from kauldron import launch as launch
from kauldron import lm as lm
from kauldron import losses as losses
from kauldron import metrics as metrics
from kauldron import modules as nn
from kauldron import optim as optim
from kauldron import random as random
from kauldron import rl as rl
from kauldron import serve as serve
from kauldron import sharding as sharding
from kauldron import summaries as summaries
from kauldron import testing as testing
from kauldron import tracking as tracking
from kauldron import train as train
from kauldron import typing as typing
from kauldron import volumes as volumes
from kauldron.utils import api as utils
from kauldron.utils import from_xid as from_xid
from kauldron.utils import kdash as kdash
from kauldron.utils import xmanager as xm

__all__ = [
    "apps",
    "ckpts",
    "cli",
    "contrib",
    "data",
    "errors",
    "evals",
    "export",
    "from_xid",
    "inspect",
    "kdash",
    "konfig",
    "kontext",
    "ktyping",
    "launch",
    "lm",
    "losses",
    "metrics",
    "nn",
    "optim",
    "random",
    "rl",
    "serve",
    "sharding",
    "summaries",
    "testing",
    "tracking",
    "train",
    "typing",
    "utils",
    "volumes",
    "xm",
]
