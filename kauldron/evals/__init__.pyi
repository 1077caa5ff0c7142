"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.evals._batches import EvaluationError as EvaluationError
from kauldron.evals._fewshot import FewShotError as FewShotError
from kauldron.evals._fewshot import FewShotEvaluator as FewShotEvaluator
from kauldron.evals._read_outputs import read_outputs as read_outputs
from kauldron.evals.base import CollectionKeys as CollectionKeys
from kauldron.evals.base import EvaluatorBase as EvaluatorBase
from kauldron.evals.evaluators import Evaluator as Evaluator
from kauldron.evals.output_pieces import OutputsError as OutputsError
from kauldron.evals.run_strategies import AlongTrain as AlongTrain
from kauldron.evals.run_strategies import EveryNSteps as EveryNSteps
from kauldron.evals.run_strategies import Final as Final
from kauldron.evals.run_strategies import Once as Once
from kauldron.evals.run_strategies import RunStrategy as RunStrategy
from kauldron.evals.run_strategies import Standalone as Standalone
from kauldron.evals.run_strategies import StandaloneEveryCheckpoint as StandaloneEveryCheckpoint
from kauldron.evals.run_strategies import StandaloneLastCheckpoint as StandaloneLastCheckpoint
from kauldron.evals.standalone import EvaluationInterrupted as EvaluationInterrupted
from kauldron.evals.standalone import NoTrainingError as NoTrainingError
from kauldron.evals.standalone import continuous_eval as continuous_eval
from kauldron.evals.write_outputs import WriteOutputs as WriteOutputs
from kauldron.runs import PredictError as PredictError
from kauldron.runs import Predictor as Predictor
from kauldron.runs import evaluate_checkpoint as evaluate_checkpoint

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
    "Standalone",
    "StandaloneEveryCheckpoint",
    "StandaloneLastCheckpoint",
    "WriteOutputs",
    "continuous_eval",
    "evaluate_checkpoint",
    "read_outputs",
]
