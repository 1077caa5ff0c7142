"""Evaluators, and when they run."""

from __future__ import annotations

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
    "EvaluationInterrupted",
    "Evaluator",
    "EvaluatorBase",
    "EveryNSteps",
    "Final",
    "NoTrainingError",
    "Once",
    "RunStrategy",
    "Standalone",
    "StandaloneEveryCheckpoint",
    "StandaloneLastCheckpoint",
    "check_names",
    "continuous_eval",
    "evaluate_checkpoint",
]
