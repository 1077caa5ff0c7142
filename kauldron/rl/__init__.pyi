"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.rl._metrics import MeanReward as MeanReward
from kauldron.rl._metrics import RolloutStatistics as RolloutStatistics
from kauldron.rl._model_rewards import ClassifierReward as ClassifierReward
from kauldron.rl._model_rewards import LikelihoodReward as LikelihoodReward
from kauldron.rl._rewards import Answer as Answer
from kauldron.rl._rewards import Reward as Reward
from kauldron.rl._rewards import RewardError as RewardError
from kauldron.rl._rollout_pipeline import RolloutPipeline as RolloutPipeline
from kauldron.rl._text_rewards import FormatReward as FormatReward
from kauldron.rl._text_rewards import FunctionReward as FunctionReward
from kauldron.rl._text_rewards import LengthReward as LengthReward
from kauldron.rl._text_rewards import MatchReward as MatchReward
from kauldron.rl._text_rewards import RegexReward as RegexReward

__all__ = [
    "Answer",
    "ClassifierReward",
    "FormatReward",
    "FunctionReward",
    "LengthReward",
    "LikelihoodReward",
    "MatchReward",
    "MeanReward",
    "RegexReward",
    "Reward",
    "RewardError",
    "RolloutPipeline",
    "RolloutStatistics",
]
