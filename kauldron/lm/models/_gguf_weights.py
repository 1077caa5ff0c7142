"""GGUF files as weights: tensors dequantised one by one, and what the header describes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from kauldron import modules as nn
from kauldron.lm.models import _gguf_blocks
from kauldron.lm.models._errors import ModelError
from kauldron.lm.text import gguf_files

# Name in the header, below the architecture -> name in a `config.json`.
_CONFIG = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
}
_OF_GEMMA = {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
# Architecture -> layout of its tensors. Its name is that of the family; a mixture of
# experts has the architecture of LLaMA.
_LAYOUTS = {
    "llama": "gguf_llama",
    "qwen2": "gguf_qwen",
    "qwen3": "gguf_qwen",
    "gemma2": "gguf_gemma",
    "gemma3": "gguf_gemma",
}
# Number of layers of the models whose logits are scaled by the width of all heads, which
# a file does not say, but its readers know.
_SCALED_BY_WIDTH = {"gemma2": 46, "gemma3": 62}
_TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
_EMBEDDING = "token_embd.weight"
# What would change the computation -> values that are known here.
_KNOWN = {
    "rope.scaling.type": ("none", "linear"),
    "attention.sliding_window": (),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
}
_FREQUENCIES = "rope_freqs.weight"
_LLAMA3_LENGTH = 8192


class GgufWeights:
    """The tensors of a GGUF file, see `kd.ckpts.pretrained.TensorFiles`.

    Args:
      file: The header.
    """

    def __init__(self, file: gguf_files.GgufFile) -> None:
        self._file = file

    @property
    def name(self) -> str:
        return str(self._file.path)

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            name: jax.ShapeDtypeStruct(tensor.shape, np.dtype(np.float32))
            for name, tensor in self._file.tensors.items()
        }

    def views(self, names: Iterable[str]) -> Mapping[str, np.ndarray]:
        return _Tensors(self._file, list(names))


class _Tensors(Mapping[str, np.ndarray]):
    """Tensors in f32, each made when it is asked for."""

    def __init__(self, file: gguf_files.GgufFile, names: list[str]) -> None:
        self._file = file
        self._names = names
        self._data = np.memmap(file.path, np.uint8, mode="r")
        self._dequantise = _gguf_blocks.Dequantiser()

    def __getitem__(self, name: str) -> np.ndarray:
        tensor = self._file.tensors[name]
        stored = self._data[tensor.start : tensor.start + tensor.num_bytes]
        if tensor.type_name == "F32":
            return stored.view(np.float32).reshape(tensor.shape)
        is_kernel = len(tensor.shape) > 1 and name != _EMBEDDING
        return self._dequantise(np.asarray(stored), tensor, inputs_first=is_kernel)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def config_of_gguf(file: gguf_files.GgufFile) -> dict[str, Any]:
    """Returns the `config.json` of the same model.

    Raises:
      ModelError: If the architecture is not known here, or has options that are not.
      GgufError: If the header lacks a value.
    """
    architecture = file["general.architecture"]
    if architecture not in _LAYOUTS:
        raise ModelError(
            f"{str(file.path)!r} has the architecture {architecture!r}: known are "
            f"{', '.join(_LAYOUTS)}. Take the safetensors of the model."
        )
    names = _CONFIG | (_OF_GEMMA if architecture in _SCALED_BY_WIDTH else {})
    for name, known in _KNOWN.items():
        value = file.metadata.get(f"{architecture}.{name}")
        if name not in names and value not in (None, 0, *known):
            raise ModelError(
                f"{str(file.path)!r} says {architecture}.{name}={value!r}, which is not "
                "known here of GGUF files. Take the safetensors of the model."
            )
    config: dict[str, Any] = {"model_type": architecture}
    for theirs, name in names.items():
        if (value := file.metadata.get(f"{architecture}.{theirs}")) is not None:
            config[name] = _shortest(value)
    for theirs, name in _TOKENS.items():
        if theirs in file.metadata:
            config[name] = file[theirs]
    if _EMBEDDING not in file.tensors:
        raise ModelError(f"{str(file.path)!r} lacks the tensor {_EMBEDDING!r}.")
    config["vocab_size"] = file.tensors[_EMBEDDING].shape[0]
    config["tie_word_embeddings"] = "output.weight" not in file.tensors
    if config.get("num_local_experts"):
        config["model_type"] = "mixtral"
    if architecture in _SCALED_BY_WIDTH:
        config["query_pre_attn_scalar"] = _attention_scalar(architecture, config)
    return config | _rope_scaling(file, config)


def _attention_scalar(architecture: str, config: Mapping[str, Any]) -> int:
    if config["num_hidden_layers"] == _SCALED_BY_WIDTH[architecture]:
        return config["hidden_size"] // config["num_attention_heads"]
    return config["head_dim"]


def _rope_scaling(
    file: gguf_files.GgufFile, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a config says of longer contexts."""
    scaling = f"{file['general.architecture']}.rope.scaling"
    if file.metadata.get(f"{scaling}.type") == "linear":
        factor = _shortest(file[f"{scaling}.factor"])
        return {"rope_scaling": {"rope_type": "linear", "factor": factor}}
    if _FREQUENCIES not in file.tensors:
        return {}
    divisors = GgufWeights(file).views([_FREQUENCIES])[_FREQUENCIES]
    factor, theta = float(divisors.max()), config["rope_theta"]
    plain, scaled = (
        nn.Llama3Scaling(factor=x, original_length=_LLAMA3_LENGTH)
        for x in (1.0, max(factor, 1.0))
    )
    size = 2 * divisors.size
    expected = plain.frequencies(theta, size) / scaled.frequencies(theta, size)
    if not np.allclose(divisors, expected, rtol=1e-3):
        raise ModelError(
            f"{str(file.path)!r} divides the frequencies of its rotary embedding "
            f"({_FREQUENCIES!r}) by {divisors.min():.3g} to {factor:.3g}, otherwise than "
            "Llama 3 does. Take the safetensors of the model."
        )
    return {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": plain.low_freq_factor,
            "high_freq_factor": plain.high_freq_factor,
            "original_max_position_embeddings": _LLAMA3_LENGTH,
        }
    }


def layout_of_gguf(file: gguf_files.GgufFile) -> str:
    """Returns the layout of the tensors, of `kd.ckpts.pretrained.LAYOUTS`."""
    return _LAYOUTS[file["general.architecture"]]


def _shortest(value: Any) -> Any:
    """Returns 1e-5 for the f32 nearest to it."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
