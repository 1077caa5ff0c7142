"""Shapes of a decoder's parameters, without tracing each layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from kauldron import modules as nn
from kauldron.ktyping import PyTree


def param_specs(model: nn.CausalLM, sharding: Any = None) -> PyTree:
    """Returns shape, dtype and sharding of each parameter.

    Args:
      model: The decoder.
      sharding: From a tree of shapes to one of shardings, or one sharding for all.
    """
    shapes = _shapes(model)
    if sharding is None:
        return shapes
    shardings = sharding(shapes) if callable(sharding) else sharding
    return jax.tree.map(
        lambda s, leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s),
        jax.tree.broadcast(shardings, shapes),
        shapes,
    )


def _shapes(model: nn.CausalLM) -> PyTree:
    if model.scan_layers:
        return _traced(model)
    # One copy of the blocks is traced, and layers that are alike have its shapes.
    shapes = dict(_traced(model.clone(scan_layers=True)))
    scanned = shapes.pop("layers", None)
    if scanned is not None:
        first, period = len(model.first_blocks), len(model.blocks)
        rounds = (model.num_layers - first) // period
        for i in range(rounds * period):
            shapes[f"layer_{first + i}"] = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
                scanned[f"layer_{i % period}"],
            )
    return shapes


def _traced(model: nn.CausalLM) -> PyTree:
    tokens = jnp.zeros((1, 1), jnp.int32)
    return jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
