"""`kd.lm`: language models, from raw text to a tuned model, on the ordinary Trainer.

Sub-rooms, each imported when a name of it is used: `text` (tokenizers, chat templates),
`corpus` (sources, transforms and packing of tokens), `models` (families and their
weights), `generation`, `losses`, `tuning`, `loading`, `evals`.
"""

from __future__ import annotations

from kauldron._base import lazy

_ROOM = "kauldron.lm"


def _names(file: str, names: str) -> dict[str, str]:
    return {name: f"{_ROOM}.{file}:{name}" for name in names.split()}


__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # text
        # corpus
        # models
        # generation
        # losses
        **_names("losses._cross_entropy", "ChunkedCrossEntropy TokenCrossEntropy"),
        **_names("losses._experts", "MoELoadBalance MoEZLoss RouterStatistics"),
        **_names("losses._policy", "GRPO PolicyDrift group_advantages"),
        **_names("losses._preferences", "DPO PreferenceRewards"),
        # tuning
        **_names("tuning._lora", "LoRA merge_lora"),
        **_names("tuning._low_rank", "LoRAError"),
        **_names("tuning._peft", "load_adapter save_adapter"),
        **_names("tuning._reference", "ReferenceFromPolicy WithReference"),
        **_names("tuning._base_weights", "BaseWeights"),
        # loading
        # evals
    },
)
