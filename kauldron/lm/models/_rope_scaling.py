"""Rotary embeddings in a `config.json`: base, and how longer contexts are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kauldron import modules as nn
from kauldron.lm.models._errors import ModelError

_LENGTH = "original_max_position_embeddings"
# Name in a config -> class of `kd.nn`, and its fields by their name in the config.
_SCALINGS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "linear": ("LinearScaling", {"factor": "factor"}),
    "llama3": (
        "Llama3Scaling",
        {
            "factor": "factor",
            _LENGTH: "original_length",
            "low_freq_factor": "low_freq_factor",
            "high_freq_factor": "high_freq_factor",
        },
    ),
    "yarn": (
        "YarnScaling",
        {
            "factor": "factor",
            _LENGTH: "original_length",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "mscale": "mscale",
            "mscale_all_dim": "mscale_all_dim",
        },
    ),
}
# Options of published scalings that are not offered here, with the value that is.
_FIXED = {"attention_factor": None, "truncate": True, "partial_rotary_factor": 1.0}


def rope_of_config(config: Mapping[str, Any], where: str) -> nn.Rope:
    """Returns the rotary embedding that a config describes.

    Raises:
      ModelError: If it has options that are not known here.
    """
    theta, scaling = _parameters(config, where)
    return nn.Rope(theta=float(theta), scaling=_scaling(scaling, config, where))


def config_of_rope(rope: nn.Rope) -> dict[str, Any]:
    """Returns what a config says of a rotary embedding."""
    parameters: dict[str, Any] | None = None
    for kind, (name, fields) in _SCALINGS.items():
        if type(rope.scaling) is getattr(nn, name):
            values = {theirs: getattr(rope.scaling, x) for theirs, x in fields.items()}
            parameters = {"rope_type": kind, **values}
    if rope.fraction != 1 or (parameters is None and rope.scaling is not None):
        raise ModelError(f"No `config.json` can describe {rope!r}.")
    return {"rope_theta": rope.theta, "rope_scaling": parameters}


def _parameters(
    config: Mapping[str, Any], where: str
) -> tuple[float, Mapping[str, Any] | None]:
    """Returns base and scaling; newer configs have both in one place."""
    parameters = config.get("rope_parameters")
    if not parameters:
        return config["rope_theta"], config.get("rope_scaling")
    local = parameters.get("sliding_attention")
    if local is not None:
        if (local.get("rope_type", "default"), local["rope_theta"]) != ("default", 1e4):
            raise ModelError(
                f"{where} says rope_parameters={dict(parameters)!r}: windowed layers "
                "are made with the base 10000, without scaling, alone."
            )
        parameters = parameters["full_attention"]
    return parameters.get("rope_theta", config.get("rope_theta")), parameters


def _scaling(
    scaling: Mapping[str, Any] | None, config: Mapping[str, Any], where: str
) -> Any:
    scaling = scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    for name, only in _FIXED.items():
        value = scaling.get(name, config.get(name, only))
        if value not in (only, None):
            raise ModelError(
                f"{where} says {name}={value!r} of its rotary embedding: known is "
                f"{only!r} alone."
            )
    if kind == "default":
        return None
    if kind not in _SCALINGS:
        raise ModelError(
            f"{where} has the rotary embedding {kind!r}: known are default, "
            f"{', '.join(_SCALINGS)}."
        )
    name, fields = _SCALINGS[kind]
    values = {ours: scaling[x] for x, ours in fields.items() if scaling.get(x)}
    if _LENGTH in fields:
        values.setdefault("original_length", config["max_position_embeddings"])
    return getattr(nn, name)(**values)
