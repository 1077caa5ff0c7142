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
        **_names("text._tokenizer", "Tokenizer TokensAndOffsets"),
        **_names("text._tokenizer_files", "SpecialTokens"),
        **_names("text._stream", "StreamDecoder"),
        **_names("text._errors", "ChatTemplateError TokenizerError"),
        # corpus
        # models
        **_names("models._errors", "ModelError"),
        **_names("models._published", "PublishedModel save"),
        **_names("models._param_specs", "param_specs"),
        # generation
        **_names("generation._generate", "Generated PromptError generate stream"),
        **_names("generation._sampling", "Sampling"),
        # losses
        # tuning
        # loading
        **_names("loading._load", "find load"),
        # evals
    },
)
