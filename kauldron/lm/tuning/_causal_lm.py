"""`causal_lm`: the decoder inside of what is trained, ready to be used alone."""

from __future__ import annotations

from typing import Any

from kauldron import modules as nn
from kauldron.ktyping import PyTree
from kauldron.lm.tuning import _lora
from kauldron.lm.tuning._reference import WithReference
from kauldron.sharding import TrainState


def causal_lm(model: Any, state: TrainState) -> tuple[nn.CausalLM, PyTree]:
    """Returns the decoder that a state is of, and its parameters.

    Raises:
      TypeError: If it is none.
    """
    params, collections = state.params, dict(state.collections or {})
    if isinstance(model, WithReference):
        model, params = model.policy, params["policy"]
        collections = {k: v.get("policy", v) for k, v in collections.items()}
    if isinstance(model, _lora.LoRA):
        params = _lora.merge_lora(model, params, collections)
        model = model.model
    if not isinstance(model, nn.CausalLM):
        raise TypeError(
            "Text is written by a `kd.nn.CausalLM`, a `kd.lm.LoRA` or a "
            f"`kd.lm.WithReference` of one: got {type(model).__name__}."
        )
    return model, params
