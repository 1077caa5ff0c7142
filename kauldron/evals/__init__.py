"""Evaluators, and when they run."""

from __future__ import annotations

from kauldron.evals._batches import EvaluationError
from kauldron.evals._output_files import OutputsError, read_outputs
from kauldron.evals._outputs import WriteOutputs
from kauldron.evals.evaluators import CollectionKeys, Evaluator, EvaluatorBase
from kauldron.evals.run_strategies import (
    AlongTrain,
    EveryNSteps,
    Final,
    Once,
    RunStrategy,
)

__all__ = [
    "AlongTrain",
    "CollectionKeys",
    "EvaluationError",
    "Evaluator",
    "EvaluatorBase",
    "EveryNSteps",
    "Final",
    "Once",
    "OutputsError",
    "RunStrategy",
    "WriteOutputs",
    "read_outputs",
]
