"""`kd.rl`: language models that are trained on answers of their own.

A rollout is a pipeline: `RolloutPipeline` lets the model that is trained answer prompts,
measures the answers by rewards, and gives rows for the losses of `kd.lm`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.rl"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # rollouts
        **_names("_rollout_pipeline", "RolloutPipeline"),
        # rewards
        **_names("_rewards", "Answer Reward RewardError"),
        **_names("_text_rewards", "FormatReward FunctionReward LengthReward"),
        **_names("_text_rewards", "MatchReward RegexReward"),
        **_names("_model_rewards", "ClassifierReward LikelihoodReward"),
        # metrics
        **_names("_metrics", "MeanReward RolloutStatistics"),
    },
)
