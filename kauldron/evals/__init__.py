"""`kd.evals`: evaluators, run strategies, and tools for existing runs.

Nothing is imported before it is used.
"""

from __future__ import annotations

from kauldron._base import lazy

_STRATEGIES = "kauldron.evals.run_strategies"
_STANDALONE = "kauldron.evals.standalone"
_RUNS = "kauldron.runs"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        "CollectionKeys": "kauldron.evals.base:CollectionKeys",
        "Evaluator": "kauldron.evals.evaluators:Evaluator",
        "EvaluatorBase": "kauldron.evals.base:EvaluatorBase",
        "FewShotEvaluator": "kauldron.evals._fewshot:FewShotEvaluator",
        "WriteOutputs": "kauldron.evals.write_outputs:WriteOutputs",
        "read_outputs": "kauldron.evals._read_outputs:read_outputs",
        # When they run.
        "AlongTrain": f"{_STRATEGIES}:AlongTrain",
        "EveryNSteps": f"{_STRATEGIES}:EveryNSteps",
        "Final": f"{_STRATEGIES}:Final",
        "Once": f"{_STRATEGIES}:Once",
        "RunStrategy": f"{_STRATEGIES}:RunStrategy",
        "Standalone": f"{_STRATEGIES}:Standalone",
        "StandaloneEveryCheckpoint": f"{_STRATEGIES}:StandaloneEveryCheckpoint",
        "StandaloneLastCheckpoint": f"{_STRATEGIES}:StandaloneLastCheckpoint",
        # Beside a training.
        "EvaluationInterrupted": f"{_STANDALONE}:EvaluationInterrupted",
        "NoTrainingError": f"{_STANDALONE}:NoTrainingError",
        "continuous_eval": f"{_STANDALONE}:continuous_eval",
        # What is wrong.
        "EvaluationError": "kauldron.evals._batches:EvaluationError",
        "FewShotError": "kauldron.evals._fewshot:FewShotError",
        "OutputsError": "kauldron.evals.output_pieces:OutputsError",
        # Names for users alone: they live in a room above, and nothing below it may use
        # them. `tests/test_layers.py` lists them.
        "PredictError": f"{_RUNS}:PredictError",
        "Predictor": f"{_RUNS}:Predictor",
        "evaluate_checkpoint": f"{_RUNS}:evaluate_checkpoint",
    },
)
