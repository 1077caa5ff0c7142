"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.contrib.evals._checkpointed import CheckpointedEvaluator as CheckpointedEvaluator
from kauldron.contrib.evals._schedules import constant_stop_after_steps as constant_stop_after_steps
from kauldron.contrib.evals._schedules import piecewise_stop_after_steps as piecewise_stop_after_steps
from kauldron.contrib.evals._train_evaluator import TrainEvaluator as TrainEvaluator

__all__ = [
    "CheckpointedEvaluator",
    "TrainEvaluator",
    "constant_stop_after_steps",
    "piecewise_stop_after_steps",
]
