"""One pass of the model over some tokens of each row, with the pages of the pool."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from flax.linen import dtypes

from kauldron import lm
from kauldron import modules as nn
from kauldron.ktyping import Array, Float, Int, PyTree
from kauldron.serve.device import _adapters, _kernels, _layers
from kauldron.serve.device._paged_cache import PagedCache


class Weights(flax.struct.PyTreeNode):
    """What a pass reads and leaves as it is.

    Attributes:
      params: Of the model.
      kernels: Of linear maps that are not in `params`, by group.
      adapters: Of all adapters together, by module; empty if there are none.
      rounds: Whether what is multiplied by weights is rounded to their dtype.
    """

    params: PyTree
    kernels: Mapping[str, Any]
    adapters: Mapping[str, Any]
    rounds: bool = flax.struct.field(pytree_node=False, default=False)


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


def in_precision(function: Callable[..., Any], precision: Any) -> Callable[..., Any]:
    """Returns a function of weights whose model computes in the dtypes of a precision.

    Args:
      function: Takes `Weights` first.
      precision: `kd.train.Precision`, or `None` for the dtypes of the weights.
    """
    if precision is None:
        return function

    def computed(weights: Weights, *args: Any) -> Any:
        params = precision.cast_params(weights.params, use="compute")
        with precision.applied():
            return function(weights.replace(params=params), *args)

    return computed


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
      cache: Bound to the rows; one `PagedCache` of all layers, or one of each.
      adapters: Index of each row's adapter; 0 is none.
    """
    params = lm.dequantize(weights.params, jnp.float32)
    # As one that does not change in a loop of steps, a CPU would make the whole of a table
    # in 16 bits wide before the loop.
    table, tokens = jax.lax.optimization_barrier((params["embedding"], tokens))
    params = {**params, "embedding": table}
    has_one_copy = isinstance(cache, PagedCache)
    maps = _layers.LinearMaps(
        params, weights.kernels, weights.adapters, adapters, weights.rounds
    )
    with (
        _layers.in_one_copy(model, maps)
        if has_one_copy
        else _in_each_layer(model, maps)
    ):
        outputs, kept = model.apply(
            {"params": params},
            tokens,
            positions,
            None,
            (cache,) * model.num_layers if has_one_copy else cache,
            mutable=["intermediates"],
        )
    intermediates: Any = kept["intermediates"]
    hidden: Array["b t d"] = intermediates["hidden"][0]
    after = outputs["cache"][0] if has_one_copy else outputs["cache"]
    return Pass(logits(model, params, hidden, weights.rounds), hidden, after)


@contextlib.contextmanager
def _in_each_layer(model: nn.CausalLM, maps: _layers.LinearMaps) -> Iterator[None]:
    """A context in which linear maps multiply with kernels, and add adapters."""
    with contextlib.ExitStack() as contexts:
        # The last one is the outermost: updates are added to products.
        if maps.kernels:
            multiplied = _kernels.multiplied(model, maps.kernels, rounds=maps.rounds)
            contexts.enter_context(multiplied)
        if maps.adapters:
            contexts.enter_context(_adapters.added(maps.adapters, maps.rows))
        yield


def logits(
    model: nn.CausalLM, params: PyTree, hidden: Float["*b d"], rounds: bool
) -> Float["*b v"]:
    """Returns what the head of the model does, of the vocabulary's rows as they are.

    Args:
      model: The decoder.
      params: Of it, as they are kept.
      hidden: What the head reads.
      rounds: See `Weights`.
    """
    params = lm.dequantize(params, jnp.float32)
    kernel = params["embedding"] if model.has_tied_head else params["head"].T
    dtype = kernel.dtype if rounds else model.dtype
    hidden, kernel = dtypes.promote_dtype(hidden, kernel, dtype=dtype)
    rows = hidden.reshape(-1, hidden.shape[-1])
    y = _kernels.product(rows, [kernel]).reshape(*hidden.shape[:-1], -1)
    if model.head_softcap is None:
        return y
    return model.head_softcap * jnp.tanh(y / model.head_softcap)
