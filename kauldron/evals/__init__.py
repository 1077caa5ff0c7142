"""Evaluators, and when they run."""

from __future__ import annotations

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
    "Evaluator",
    "EvaluatorBase",
    "EveryNSteps",
    "Final",
    "Once",
    "RunStrategy",
]
