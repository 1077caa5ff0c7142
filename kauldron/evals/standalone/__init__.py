"""Evaluation in a separate process, during the training or after it."""

from __future__ import annotations

from kauldron._base import public
from kauldron.evals.standalone._evaluations import Evaluations
from kauldron.evals.standalone._evaluator_names import (
    EvalNameError,
    ProcessesError,
    check_names,
    check_one_process,
    select,
)
from kauldron.evals.standalone._follower import (
    EvaluationInterrupted,
    NoTrainingError,
    StandaloneError,
    continuous_eval,
)
from kauldron.evals.standalone._progress_file import BusyError, RecordError
from kauldron.evals.standalone._sources import NothingToEvaluateError, OwnRun

__all__ = [
    "BusyError",
    "EvalNameError",
    "EvaluationInterrupted",
    "Evaluations",
    "NoTrainingError",
    "NothingToEvaluateError",
    "OwnRun",
    "ProcessesError",
    "RecordError",
    "StandaloneError",
    "check_names",
    "check_one_process",
    "continuous_eval",
    "select",
]

__dir__ = public.publish(__name__)
