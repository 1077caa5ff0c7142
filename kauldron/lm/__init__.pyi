"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.lm.corpus._packing import Pack as Pack
from kauldron.lm.corpus._pairs import PreferencePair as PreferencePair
from kauldron.lm.corpus._pairs import Prompt as Prompt
from kauldron.lm.corpus._prepare import prepare as prepare
from kauldron.lm.corpus._prepare import source_of as source_of
from kauldron.lm.corpus._prepare import texts_of as texts_of
from kauldron.lm.corpus._prepare_files import prepare_files as prepare_files
from kauldron.lm.corpus._shard_files import Counts as Counts
from kauldron.lm.corpus._shard_files import Manifest as Manifest
from kauldron.lm.corpus._sources import Hdf5 as Hdf5
from kauldron.lm.corpus._sources import JsonLines as JsonLines
from kauldron.lm.corpus._sources import TextFolder as TextFolder
from kauldron.lm.corpus._texts import ChatToTokens as ChatToTokens
from kauldron.lm.corpus._texts import Tokenize as Tokenize
from kauldron.lm.corpus._token_shards import TokenShards as TokenShards
from kauldron.lm.corpus._windows import Window as Window
from kauldron.lm.evals._choices import ChoicesToTokens as ChoicesToTokens
from kauldron.lm.evals._choices import MultipleChoice as MultipleChoice
from kauldron.lm.evals._generation import GenerationEvaluator as GenerationEvaluator
from kauldron.lm.evals._instructions import INSTRUCTIONS as INSTRUCTIONS
from kauldron.lm.evals._perplexity import TokenBitsPerByte as TokenBitsPerByte
from kauldron.lm.evals._perplexity import TokenPerplexity as TokenPerplexity
from kauldron.lm.evals._texts import ExactMatch as ExactMatch
from kauldron.lm.evals._texts import InstructionFollowing as InstructionFollowing
from kauldron.lm.evals._texts import PassAtK as PassAtK
from kauldron.lm.evals._texts import pass_at_k as pass_at_k
from kauldron.lm.generation._generate import Generated as Generated
from kauldron.lm.generation._generate import PromptError as PromptError
from kauldron.lm.generation._generate import generate as generate
from kauldron.lm.generation._generate import stream as stream
from kauldron.lm.generation._sampling import Sampling as Sampling
from kauldron.lm.generation._scoring import TextScore as TextScore
from kauldron.lm.generation._scoring import score as score
from kauldron.lm.generation._scoring import token_logprobs as token_logprobs
from kauldron.lm.generation._talk import talk as talk
from kauldron.lm.generation._text_generator import TextGenerator as TextGenerator
from kauldron.lm.generation._token_draws import Cuts as Cuts
from kauldron.lm.generation._token_draws import cut_logits as cut_logits
from kauldron.lm.generation._token_draws import draw_tokens as draw_tokens
from kauldron.lm.generation._token_draws import likeliest_tokens as likeliest_tokens
from kauldron.lm.loading._convert import convert as convert
from kauldron.lm.loading._convert import read_text as read_text
from kauldron.lm.loading._init_transform import PublishedWeights as PublishedWeights
from kauldron.lm.loading._init_transform import published_decoder as published_decoder
from kauldron.lm.loading._load import find as find
from kauldron.lm.loading._load import load as load
from kauldron.lm.loading._load import text_generator as text_generator
from kauldron.lm.losses._cross_entropy import ChunkedCrossEntropy as ChunkedCrossEntropy
from kauldron.lm.losses._cross_entropy import TokenCrossEntropy as TokenCrossEntropy
from kauldron.lm.losses._experts import MoELoadBalance as MoELoadBalance
from kauldron.lm.losses._experts import MoEZLoss as MoEZLoss
from kauldron.lm.losses._experts import RouterStatistics as RouterStatistics
from kauldron.lm.losses._policy import GRPO as GRPO
from kauldron.lm.losses._policy import PolicyDrift as PolicyDrift
from kauldron.lm.losses._policy import group_advantages as group_advantages
from kauldron.lm.losses._preferences import DPO as DPO
from kauldron.lm.losses._preferences import PreferenceRewards as PreferenceRewards
from kauldron.lm.models._errors import ModelError as ModelError
from kauldron.lm.models._param_specs import param_specs as param_specs
from kauldron.lm.models._published import PublishedModel as PublishedModel
from kauldron.lm.models._published import save as save
from kauldron.lm.models._published import write_config as write_config
from kauldron.lm.text._chat_template import ChatTemplate as ChatTemplate
from kauldron.lm.text._chat_template import ChatTokens as ChatTokens
from kauldron.lm.text._chat_text import Span as Span
from kauldron.lm.text._errors import ChatTemplateError as ChatTemplateError
from kauldron.lm.text._errors import TokenizerError as TokenizerError
from kauldron.lm.text._stream import StreamDecoder as StreamDecoder
from kauldron.lm.text._tokenizer import Tokenizer as Tokenizer
from kauldron.lm.text._tokenizer import TokensAndOffsets as TokensAndOffsets
from kauldron.lm.text._tokenizer_files import SpecialTokens as SpecialTokens
from kauldron.lm.text.gguf_files import GgufError as GgufError
from kauldron.lm.text.gguf_files import GgufFile as GgufFile
from kauldron.lm.tuning._base_weights import BaseWeights as BaseWeights
from kauldron.lm.tuning._causal_lm import causal_lm as causal_lm
from kauldron.lm.tuning._int8 import dequantize as dequantize
from kauldron.lm.tuning._int8 import quantize as quantize
from kauldron.lm.tuning._lora import LoRA as LoRA
from kauldron.lm.tuning._lora import merge_lora as merge_lora
from kauldron.lm.tuning._low_rank import LoRAError as LoRAError
from kauldron.lm.tuning._peft import load_adapter as load_adapter
from kauldron.lm.tuning._peft import save_adapter as save_adapter
from kauldron.lm.tuning._reference import ReferenceFromPolicy as ReferenceFromPolicy
from kauldron.lm.tuning._reference import WithReference as WithReference

__all__ = [
    "BaseWeights",
    "ChatTemplate",
    "ChatTemplateError",
    "ChatToTokens",
    "ChatTokens",
    "ChoicesToTokens",
    "ChunkedCrossEntropy",
    "Counts",
    "Cuts",
    "DPO",
    "ExactMatch",
    "GRPO",
    "Generated",
    "GenerationEvaluator",
    "GgufError",
    "GgufFile",
    "Hdf5",
    "INSTRUCTIONS",
    "InstructionFollowing",
    "JsonLines",
    "LoRA",
    "LoRAError",
    "Manifest",
    "MoELoadBalance",
    "MoEZLoss",
    "ModelError",
    "MultipleChoice",
    "Pack",
    "PassAtK",
    "PolicyDrift",
    "PreferencePair",
    "PreferenceRewards",
    "Prompt",
    "PromptError",
    "PublishedModel",
    "PublishedWeights",
    "ReferenceFromPolicy",
    "RouterStatistics",
    "Sampling",
    "Span",
    "SpecialTokens",
    "StreamDecoder",
    "TextFolder",
    "TextGenerator",
    "TextScore",
    "TokenBitsPerByte",
    "TokenCrossEntropy",
    "TokenPerplexity",
    "TokenShards",
    "Tokenize",
    "Tokenizer",
    "TokenizerError",
    "TokensAndOffsets",
    "Window",
    "WithReference",
    "causal_lm",
    "convert",
    "cut_logits",
    "dequantize",
    "draw_tokens",
    "find",
    "generate",
    "group_advantages",
    "likeliest_tokens",
    "load",
    "load_adapter",
    "merge_lora",
    "param_specs",
    "pass_at_k",
    "prepare",
    "prepare_files",
    "published_decoder",
    "quantize",
    "read_text",
    "save",
    "save_adapter",
    "score",
    "source_of",
    "stream",
    "talk",
    "text_generator",
    "texts_of",
    "token_logprobs",
    "write_config",
]
