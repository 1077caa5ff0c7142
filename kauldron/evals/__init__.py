"""Evaluators, and when they run."""

from __future__ import annotations

from kauldron.evals._batches import EvaluationError
from kauldron.evals._fewshot import FewShotError, FewShotEvaluator
from kauldron.evals._output_files import OutputsError
from kauldron.evals._outputs import WriteOutputs
from kauldron.evals._predictor import Predictor, check_suffix, default_keys
from kauldron.evals._read_outputs import read_outputs
from kauldron.evals._runs import PredictError, check_run
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
    "FewShotError",
    "FewShotEvaluator",
    "Final",
    "Once",
    "OutputsError",
    "PredictError",
    "Predictor",
    "RunStrategy",
    "WriteOutputs",
    "check_run",
    "check_suffix",
    "default_keys",
    "read_outputs",
]
