"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib import checkpoints as checkpoints
from kauldron.contrib import checkpoints as ckpts
from kauldron.contrib import data as data
from kauldron.contrib import evals as evals
from kauldron.contrib import knnx as knnx
from kauldron.contrib import losses as losses
from kauldron.contrib import metrics as metrics
from kauldron.contrib import modules as modules
from kauldron.contrib import nn as nn
from kauldron.contrib import summaries as summaries
from kauldron.contrib import train as train

__all__ = [
    "checkpoints",
    "ckpts",
    "data",
    "evals",
    "knnx",
    "losses",
    "metrics",
    "modules",
    "nn",
    "summaries",
    "train",
]
