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
        **_names("text._chat_template", "ChatTemplate ChatTokens"),
        **_names("text._chat_text", "Span"),
        **_names("text._errors", "ChatTemplateError TokenizerError"),
        # corpus
        **_names("corpus._packing", "Pack"),
        **_names("corpus._windows", "Window"),
        **_names("corpus._texts", "ChatToTokens Tokenize"),
        **_names("corpus._pairs", "PreferencePair Prompt"),
        **_names("corpus._sources", "Hdf5 JsonLines TextFolder"),
        **_names("corpus._token_shards", "TokenShards"),
        **_names("corpus._shard_files", "Counts Manifest"),
        **_names("corpus._prepare", "prepare source_of texts_of"),
        **_names("corpus._prepare_files", "prepare_files"),
        # models
        **_names("text.gguf_files", "GgufError GgufFile"),
        **_names("models._errors", "ModelError"),
        **_names("models._published", "PublishedModel save write_config"),
        **_names("models._param_specs", "param_specs"),
        # generation
        **_names("generation._generate", "Generated PromptError generate stream"),
        **_names("generation._sampling", "Sampling"),
        **_names("generation._scoring", "TextScore score token_logprobs"),
        **_names("generation._talk", "talk"),
        **_names(
            "generation._token_draws", "Cuts cut_logits draw_tokens likeliest_tokens"
        ),
        **_names("generation._text_generator", "TextGenerator"),
        # losses
        **_names("losses._cross_entropy", "ChunkedCrossEntropy TokenCrossEntropy"),
        **_names("losses._experts", "MoELoadBalance MoEZLoss RouterStatistics"),
        **_names("losses._policy", "GRPO PolicyDrift group_advantages"),
        **_names("losses._preferences", "DPO PreferenceRewards"),
        # tuning
        **_names("tuning._causal_lm", "causal_lm"),
        **_names("tuning._int8", "dequantize quantize"),
        **_names("tuning._lora", "LoRA merge_lora"),
        **_names("tuning._low_rank", "LoRAError"),
        **_names("tuning._peft", "load_adapter save_adapter"),
        **_names("tuning._reference", "ReferenceFromPolicy WithReference"),
        **_names("tuning._base_weights", "BaseWeights"),
        # loading
        **_names("loading._load", "find load text_generator"),
        **_names("loading._convert", "convert read_text"),
        **_names("loading._init_transform", "PublishedWeights published_decoder"),
        # evals
        **_names("evals._choices", "ChoicesToTokens MultipleChoice"),
        **_names("evals._generation", "GenerationEvaluator"),
        **_names("evals._instructions", "INSTRUCTIONS"),
        **_names("evals._perplexity", "TokenBitsPerByte TokenPerplexity"),
        **_names("evals._texts", "ExactMatch InstructionFollowing PassAtK pass_at_k"),
    },
)
