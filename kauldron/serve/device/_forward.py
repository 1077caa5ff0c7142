"""One pass of the model over some tokens of each row, with the pages of the pool."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from kauldron import modules as nn
from kauldron.ktyping import Array, Float, Int, PyTree
from kauldron.serve.device import _adapters


class Weights(NamedTuple):
    """What a pass reads and leaves as it is.

    Attributes:
      params: Of the model.
      adapters: Of all adapters together, by module; empty if there are none.
    """

    params: PyTree
    adapters: Mapping[str, Any]


class Pass(NamedTuple):
    """What a pass gives.

    Attributes:
      logits: Of the token after each.
      hidden: What the head reads.
      cache: With the tokens.
    """

    logits: Float["b t v"]
    hidden: Float["b t d"]
    cache: Any


def run(
    model: nn.CausalLM,
    weights: Weights,
    tokens: Int["b t"],
    positions: Int["b t"],
    cache: Any,
    adapters: Int["*b"],
) -> Pass:
    """Runs the model; what is not used of the result is not computed.

    Args:
      model: The decoder.
      weights: Its parameters, and adapters.
      tokens: Of each row.
      positions: Of the tokens; -1 is no token.
      cache: Bound to the rows.
      adapters: Index of each row's adapter; 0 is none.
    """
    context: Any = contextlib.nullcontext()
    if weights.adapters:
        context = _adapters.added(weights.adapters, adapters)
    with context:
        outputs, kept = model.apply(
            {"params": weights.params},
            tokens,
            positions,
            None,
            cache,
            mutable=["intermediates"],
        )
    hidden: Array["b t d"] = kept["intermediates"]["hidden"][0]
    return Pass(outputs["logits"], hidden, outputs["cache"])
