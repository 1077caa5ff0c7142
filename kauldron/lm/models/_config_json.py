"""`config.json` of a published model, to `kd.nn.CausalLM` and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kauldron import kontext
from kauldron import modules as nn
from kauldron._base import errors
from kauldron.lm.models import _experts, _rope_scaling
from kauldron.lm.models._errors import ModelError
from kauldron.lm.models._families import FAMILIES, Family

# Names by which configs with a picture part call their text part.
_SAME = {"gemma3": "gemma3_text"}
# Arguments of `kd.nn.decoder` that some configs cannot say.
_OPTIONS = {"window", "global_every", "scale", "max_positions", "head_dim"}


def family_of_config(config: Mapping[str, Any], where: str) -> Family:
    """Returns the family of a config.

    Raises:
      ModelError: If it is not known.
    """
    name = str(config.get("model_type"))
    name = _SAME.get(name, name)
    if name not in FAMILIES:
        raise ModelError(
            f"{where} is of the family {name!r} (`model_type`), and known are "
            f"{', '.join(FAMILIES)}.{errors.did_you_mean(name, FAMILIES)}"
        )
    return FAMILIES[name]


def model_of_config(
    config: Mapping[str, Any],
    *,
    where: str,
    tokens: kontext.Key = kontext.REQUIRED,
    positions: kontext.Key | None = None,
    segment_ids: kontext.Key | None = None,
    scan_layers: bool = False,
    remat: bool = False,
    dtype: Any = None,
    param_dtype: Any = "float32",
) -> nn.CausalLM:
    """Returns the model that a config describes.

    Args:
      config: The content of `config.json`.
      where: Its name, for messages.
      tokens: See `kd.nn.decoder`, as all that follows.
      positions: Key to the positions.
      segment_ids: Key to the documents.
      scan_layers: Whether layers are one scan.
      remat: Whether the backward pass computes blocks again.
      dtype: Of the computation.
      param_dtype: Of the parameters.

    Raises:
      ModelError: If the family is not known, a value is missing, or one is of a model
        that the family here does not make.
    """
    family = family_of_config(config, where)
    values = {**family.defaults, **config}
    _check(family, values, where)
    arguments = {
        ours: values[theirs]
        for theirs, ours in family.fields.items()
        if values[theirs] is not None
    }
    arguments.setdefault("hidden_features", 4 * arguments["features"])  # of GPT-2
    common = {"dtype": dtype, "param_dtype": param_dtype}
    if family.has_rope:
        arguments["rope"] = _rope_scaling.rope_of_config(values, where)
    if "query_pre_attn_scalar" in values:
        arguments["scale"] = values["query_pre_attn_scalar"] ** -0.5
    if family.global_every is not None:
        arguments["global_every"] = _global_every(family, values, where)
    arguments |= _experts.arguments_of_config(family, values, arguments, common)
    try:
        return nn.decoder(
            family.decoder,
            **arguments,
            **common,
            tokens=tokens,
            positions=positions,
            segment_ids=segment_ids,
            scan_layers=scan_layers,
            remat=remat,
        )
    except ValueError as e:
        raise ModelError(f"{where} describes no {family.model_type}: {e}") from e


def context_length(config: Mapping[str, Any], where: str) -> int:
    """Returns the most tokens of a row that the model was made for."""
    family = family_of_config(config, where)
    return {**family.defaults, **config}[family.length]


def _check(family: Family, values: Mapping[str, Any], where: str) -> None:
    for name in family.fields:
        if name not in values:
            raise ModelError(
                f"{where} lacks {name!r}.{errors.did_you_mean(name, values)}"
            )
    for name, only in family.fixed.items():
        value = values.get(name, only)
        if value != only and (value is not None or only is not False):
            raise ModelError(
                f"{where} says {name}={value!r}: models of the family "
                f"{family.model_type!r} are made with {only!r} alone. Build the model "
                "of `kd.nn.CausalLM` and `kd.nn.DecoderBlock`, and fill it with "
                f"`kd.ckpts.PretrainedWeights(layout={family.layout!r})`."
            )


def _global_every(family: Family, values: Mapping[str, Any], where: str) -> int | None:
    """Returns in how many layers one sees everything, which may be said layer by layer."""
    kinds = values.get("layer_types")
    if kinds is None:
        return values.get("sliding_window_pattern", family.global_every)
    every = next(
        (i for i, kind in enumerate(kinds, 1) if kind == "full_attention"), len(kinds)
    )
    expected = [
        "sliding_attention" if i % every else "full_attention"
        for i in range(1, len(kinds) + 1)
    ]
    if list(kinds) != expected:
        raise ModelError(
            f"{where} says layer_types={list(kinds)}: known are rounds of windowed "
            "layers that end with one that sees everything."
        )
    return every


def config_of_model(model: nn.CausalLM) -> dict[str, Any]:
    """Returns what `config.json` says of a model.

    Raises:
      ModelError: If it is of no published family.
    """
    for family in FAMILIES.values():
        if _is_of(family, model):
            return _config(family, model)
    raise ModelError(
        "This model is of no published family, as `kd.nn.decoder` makes them, so other "
        "programs cannot read it. `kd.ckpts.save_safetensors` writes any parameters."
    )


def _is_of(family: Family, model: nn.CausalLM) -> bool:
    if not _experts.is_of(family, model):
        return False
    arguments = _arguments_of_model(model)
    said = set(family.fields.values())
    if family.global_every is not None:
        said |= {"global_every", "scale"}
    default = {"head_dim": arguments["features"] // arguments["num_heads"]}
    for name in _OPTIONS - said:
        if arguments.get(name) not in (None, default.get(name)):
            return False
    try:
        return nn.decoder(family.decoder, **arguments) == model
    except ValueError:
        return False


def _arguments_of_model(model: nn.CausalLM) -> dict[str, Any]:
    """Returns the arguments of `kd.nn.decoder` that make a model, if any do."""
    last, first = model.blocks[-1], (*model.first_blocks, *model.blocks)[0]
    attention = last.attention
    is_latent = isinstance(attention, nn.MLAttention)
    heads = () if is_latent else ("num_kv_heads", "head_dim", "rope", "scale")
    has_experts = isinstance(last.feed_forward, nn.MoE)
    names = ("vocab_size", "features", "num_layers", "has_tied_head", "max_positions")
    names += ("scan_layers", "remat", "tokens", "positions", "segment_ids")
    names += ("epsilon", "dtype", "param_dtype")
    return {
        **{name: getattr(model, name) for name in names},
        **{name: getattr(attention, name) for name in heads},
        "num_heads": attention.num_heads,
        "hidden_features": first.feed_forward.hidden_features,
        "window": None if is_latent else first.attention.window,
        "global_every": len(model.blocks) if len(model.blocks) > 1 else None,
        "num_dense_layers": len(model.first_blocks),
        "mla": attention if is_latent else None,
        "moe": last.feed_forward if has_experts else None,
    }


def _config(family: Family, model: nn.CausalLM) -> dict[str, Any]:
    arguments = _arguments_of_model(model)
    if arguments.get("num_kv_heads") is None:
        arguments["num_kv_heads"] = arguments["num_heads"]
    if arguments.get("head_dim") is None:
        arguments["head_dim"] = arguments["features"] // arguments["num_heads"]
    config = {
        "model_type": family.model_type,
        "architectures": [family.architecture],
        **{theirs: arguments[ours] for theirs, ours in family.fields.items()},
        **family.fixed,
    }
    if family.has_rope:
        rope = model.blocks[-1].attention.rope
        config |= _rope_scaling.config_of_rope(rope)
    if family.global_every is not None:
        config |= _layer_types(arguments["global_every"], arguments["num_layers"])
    if "query_pre_attn_scalar" in family.defaults:
        config["query_pre_attn_scalar"] = _inverse_square(
            arguments["scale"], arguments["head_dim"]
        )
    return config | _experts.config_of_model(family, model)


def _layer_types(global_every: int | None, num_layers: int) -> dict[str, Any]:
    every = global_every or 1
    kinds = ["full_attention"] + ["sliding_attention"] * (every - 1)
    return {
        "sliding_window_pattern": every,
        "layer_types": [kinds[i % every] for i in range(1, num_layers + 1)],
    }


def _inverse_square(scale: float | None, head_dim: int) -> float:
    """Returns the number whose square root divides the logits."""
    if scale is None:
        return head_dim
    number = scale**-2
    return round(number) if round(number) ** -0.5 == scale else number
