"""Adapters as files of PEFT: `adapter_config.json`, `adapter_model.safetensors`."""

from __future__ import annotations

import json
import math
import pathlib
import re
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util

from kauldron import checkpoints
from kauldron.ktyping import PyTree
from kauldron.lm.tuning import _low_rank
from kauldron.lm.tuning._lora import LoRA

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model.model.layers"
# Names of the LLaMA layout (LLaMA, Mistral, Qwen 2 and 3, Gemma 2 and 3).
_MODULES = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
_THEIRS = {theirs: ours for ours, theirs in _MODULES.items()}
_NAME = re.compile(
    rf"{re.escape(_PREFIX)}\.(\d+)\.(\w+\.\w+)\.lora_([AB])(?:\.default)?\.weight"
)


def save_adapter(folder: epath.PathLike, model: LoRA, params: PyTree) -> pathlib.Path:
    """Writes the adapters of a model so that PEFT loads them; returns the folder.

    Args:
      folder: Where to, made if it is not there.
      model: The tuned model; its weights have the names of the LLaMA layout.
      params: Its parameters.

    Raises:
      LoRAError: If a weight has no name in that layout, such as those of experts or of
        layers in a scan.
      ImportError: Without safetensors: `pip install 'kauldron[safetensors]'`.
    """
    tensors: dict[str, np.ndarray] = {}
    layers: dict[str, set[int]] = {}
    flat = _low_rank.flatten(params)
    for path in {path[:-1] for path in flat}:
        layer, module = _module_of(path)
        theirs = _MODULES[module]
        name = f"{_PREFIX}.{layer}.{theirs}"
        a, b = (np.asarray(flat[*path, side]) for side in ("a", "b"))
        tensors[f"{name}.lora_A.weight"] = _contiguous(a.reshape(-1, a.shape[-1]).T)
        tensors[f"{name}.lora_B.weight"] = _contiguous(b.reshape(b.shape[0], -1).T)
        layers.setdefault(theirs, set()).add(layer)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": model.rank,
        "lora_alpha": model.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": _targets(layers, model.model.num_layers),
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints.save_safetensors(tensors, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return folder


def _targets(layers: dict[str, set[int]], num_layers: int) -> list[str]:
    """Returns which modules PEFT gives an adapter: by name, or in some layers by path."""
    targets = []
    for module, numbers in sorted(layers.items()):
        if len(numbers) == num_layers:
            targets.append(module.rpartition(".")[2])
        else:
            targets += [f"layers.{number}.{module}" for number in sorted(numbers)]
    return targets


def load_adapter(folder: epath.PathLike, model: LoRA, params: PyTree) -> Any:
    """Returns parameters of a `LoRA` with the adapters that PEFT (or `save_adapter`) wrote.

    Args:
      folder: With `adapter_config.json` and `adapter_model.safetensors`.
      model: The model to be.
      params: Its parameters, for names and shapes.

    Raises:
      LoRAError: If the file has other adapters than the model, or another rank or alpha.
    """
    folder = pathlib.Path(folder)
    config = json.loads((folder / _CONFIG).read_text())
    said = {"r": model.rank, "lora_alpha": model.alpha}
    for name, value in said.items():
        if config.get(name) != value:
            raise _low_rank.LoRAError(
                f"{folder / _CONFIG} has {name}={config.get(name)!r}, the model {value!r}: "
                f"make it with rank={config.get('r')}, alpha={config.get('lora_alpha')}."
            )
    wanted = _low_rank.flatten(params)
    found = {}
    for name, tensor in checkpoints.SafetensorsFiles(folder / _WEIGHTS).items():
        path = _path_of(name)
        if path not in wanted:
            raise _low_rank.LoRAError(
                f"{folder / _WEIGHTS} has {name!r}, which no adapter of the model is: "
                f"`targets` are {list(model.targets)}."
            )
        shape = wanted[path].shape
        if math.prod(shape) != tensor.size:
            raise _low_rank.LoRAError(
                f"{folder / _WEIGHTS} has {name!r} as {tensor.shape}, which is not "
                f"`{'.'.join(path)}` of the model, {shape}."
            )
        found[path] = tensor.T.reshape(shape).astype(wanted[path].dtype)
    missing = sorted(".".join(path) for path in set(wanted) - set(found))
    if missing:
        raise _low_rank.LoRAError(
            f"{folder / _WEIGHTS} lacks {len(missing)} of {len(wanted)} adapters of the "
            f"model, such as `{missing[0]}`."
        )
    return traverse_util.unflatten_dict(found)


def _module_of(path: tuple[str, ...]) -> tuple[int, str]:
    """Returns the number of the layer, and which of its modules a weight belongs to."""
    layer = re.fullmatch(r"layer_(\d+)", path[0])
    module = ".".join(path[1:-1])
    if layer is None or module not in _MODULES or path[-1] != "kernel":
        raise _low_rank.LoRAError(
            f"`{'.'.join(path)}` has no name in PEFT's files: these have "
            f"`layer_<i>.<module>.kernel` of {list(_MODULES)}, without `scan_layers`. Merge "
            "the adapters (`kd.lm.merge_lora`) and save the model."
        )
    return int(layer[1]), module


def _path_of(name: str) -> tuple[str, ...]:
    match = _NAME.fullmatch(name)
    module = _THEIRS.get(match[2]) if match else None
    if match is None or module is None:
        raise _low_rank.LoRAError(f"{name!r} is no adapter of a known module.")
    return (f"layer_{match[1]}", *module.split("."), "kernel", match[3].lower())


def _contiguous(x: np.ndarray) -> np.ndarray:
    # safetensors 0.8.0 ignores strides.
    return np.array(x, order="C")
