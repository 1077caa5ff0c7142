"""`kd.contrib.evals`: train evaluators, resumable evaluations."""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.contrib.evals"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "CheckpointedEvaluator": f"{_ROOM}._checkpointed:CheckpointedEvaluator",
        "TrainEvaluator": f"{_ROOM}._train_evaluator:TrainEvaluator",
        "constant_stop_after_steps": f"{_ROOM}._schedules:constant_stop_after_steps",
        "piecewise_stop_after_steps": f"{_ROOM}._schedules:piecewise_stop_after_steps",
    },
)
