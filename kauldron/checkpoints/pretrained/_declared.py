"""What a `config.json` beside the weights says of them, where shapes don't tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from kauldron.checkpoints import _errors

# Layer of attention -> keys of `config.json` that count its heads, the first one counts.
_HEADS = {
    "query": ("num_attention_heads", "n_head"),
    "key": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "value": ("num_key_value_heads", "num_attention_heads", "n_head"),
}


def check_heads(file_name: str, ours: Mapping[str, Any]) -> None:
    """Checks the number of heads, which the matrices of a file don't show.

    `d_in x (heads head_dim)` fits any number of heads that divides it, and another one is
    another model. Without a `config.json` nothing is checked.

    Args:
      file_name: Where the weights are.
      ours: Variables by name.

    Raises:
      CheckpointError: If the model has another number of heads than the file says.
    """
    config = _read_config(file_name)
    for name, leaf in ours.items():
        *_, attention, layer, kind = ("", "", *name.split("."))
        shape = np.shape(leaf)
        if attention != "attention" or kind != "kernel" or len(shape) < 3:
            continue
        key = next((key for key in _HEADS.get(layer, ()) if key in config), None)
        if key is not None and config[key] != shape[-2]:
            raise _errors.CheckpointError(
                f"{name} has {shape[-2]} heads, but the `config.json` of "
                f"{file_name!r} says {key}={config[key]}. The weights would fit, and be "
                f"another model: make ours with {config[key]}."
            )


def _read_config(file_name: str) -> Mapping[str, Any]:
    path = epath.Path(file_name)
    path = (path if path.is_dir() else path.parent) / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):  # none, or not the one of a model
        return {}
    if not isinstance(config, dict):
        return {}
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config
