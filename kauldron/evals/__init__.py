"""Evaluators, and when they run."""

from __future__ import annotations

from kauldron._base import public
from kauldron.evals._batches import EvaluationError
from kauldron.evals._fewshot import FewShotError, FewShotEvaluator
from kauldron.evals._output_files import OutputsError
from kauldron.evals._outputs import WriteOutputs
from kauldron.evals._predictor import Predictor, check_suffix, default_keys
from kauldron.evals._read_outputs import read_outputs
from kauldron.evals._runs import PredictError
from kauldron.evals._selected import check_names
from kauldron.evals.checkpoint_eval import evaluate_checkpoint
from kauldron.evals.continuous_eval import (
    EvaluationInterrupted,
    NoTrainingError,
    continuous_eval,
)
from kauldron.evals.evaluators import CollectionKeys, Evaluator, EvaluatorBase
from kauldron.evals.run_strategies import (
    AlongTrain,
    EveryNSteps,
    Final,
    Once,
    RunStrategy,
    Standalone,
    StandaloneEveryCheckpoint,
    StandaloneLastCheckpoint,
)

__all__ = [
    "AlongTrain",
    "CollectionKeys",
    "EvaluationError",
    "EvaluationInterrupted",
    "Evaluator",
    "EvaluatorBase",
    "EveryNSteps",
    "FewShotError",
    "FewShotEvaluator",
    "Final",
    "NoTrainingError",
    "Once",
    "OutputsError",
    "PredictError",
    "Predictor",
    "RunStrategy",
    "WriteOutputs",
    "check_suffix",
    "default_keys",
    "read_outputs",
    "Standalone",
    "StandaloneEveryCheckpoint",
    "StandaloneLastCheckpoint",
    "check_names",
    "continuous_eval",
    "evaluate_checkpoint",
]

__dir__ = public.publish(__name__)
