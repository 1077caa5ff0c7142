"""A stack of layers as a pipeline of stages, in the parameters of a scan over layers.

Each stage holds some of the layers. All stages work at the same time, each on another
part of the batch, and hand their results on: part `m` is in stage `s` at tick `m + s`. As
they are an axis of one array, the partitioner makes a transfer between neighbours of the
shift along it.

Reference: Huang et al. 2019, GPipe, arXiv:1811.06965; Xu et al. 2021, GSPMD, section 3.3,
arXiv:2105.04663.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import sharding
from kauldron.ktyping import Array, PyTree

_INTERMEDIATES = "intermediates"


def run_pipelined(
    call: Callable[[nn.Module, Any], Any],
    block: nn.Module,
    state: PyTree,
    *,
    num_layers: int,
    plan: sharding.Pipelining,
) -> Any:
    """Returns the state after all layers.

    Args:
      call: Applies one layer to the state of some examples; returns it anew.
      block: A layer, bound to parameters `[layers ...]`.
      state: What the layers read and change: arrays `[b ...]`.
      num_layers: How many layers there are.
      plan: Stages and parts.

    Raises:
      ValueError: If the layers keep other state than intermediates, such as batch
        statistics, or an intermediate value without an axis for the batch.
    """
    _check_collections(block)
    num_stages, num_parts = plan.num_stages, plan.num_microbatches
    size = jax.tree.leaves(state)[0].shape[0] // num_parts

    def layer(block: nn.Module, state: Any, _: None) -> Any:
        return call(block, state), None

    def stage(block: nn.Module, state: Any) -> Any:
        scan = nn.scan(
            layer,
            variable_axes={"params": 0, _INTERMEDIATES: 0},
            split_rngs={True: True},
            length=num_layers // num_stages,
        )
        return scan(block, state, None)[0]

    all_stages = nn.vmap(
        stage,
        variable_axes={"params": 0, _INTERMEDIATES: 0},
        split_rngs={True: True},
        spmd_axis_name=plan.axis,
    )

    def tick(block: nn.Module, before: Any, part: Any) -> Any:
        handed_on = jax.tree.map(
            lambda x, first: jnp.roll(x, 1, axis=0).at[0].set(first), before, part
        )
        after = all_stages(block, sharding.split_stages(handed_on, plan.axis))
        after = sharding.split_stages(after, plan.axis)
        return after, jax.tree.map(lambda x: x[-1], after)

    def ticks(block: nn.Module, state: Any) -> Any:
        parts = jax.tree.map(lambda x: _parts(x, num_parts), state)
        # What a stage computes before the first part arrives, or after the last, counts
        # nowhere. It has real examples nevertheless: of zeros, a gradient may be NaN.
        filler = jax.tree.map(lambda x: x[:1], parts)
        fed = jax.tree.map(
            lambda x, first: jnp.concatenate(
                [x, jnp.repeat(first, num_stages - 1, axis=0)]
            ),
            parts,
            filler,
        )
        start = jax.tree.map(lambda x: jnp.repeat(x, num_stages, axis=0), filler)
        scan = nn.scan(
            tick,
            variable_broadcast="params",
            variable_axes={_INTERMEDIATES: 0},
            split_rngs={True: True},
            length=num_parts + num_stages - 1,
        )
        _, results = scan(block, sharding.split_stages(start, plan.axis), fed)
        return jax.tree.map(lambda x: _joined(x[num_stages - 1 :]), results)

    def of_stages(variables: Mapping[str, Any]) -> Any:
        return jax.tree.map(
            lambda x: x.reshape(num_stages, num_layers // num_stages, *x.shape[1:]),
            variables,
        )

    def of_layers(variables: Mapping[str, Any]) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: _of_layers(path, x, plan, size), variables
        )

    in_stages = nn.map_variables(ticks, "params", trans_in_fn=of_stages)
    whole = nn.map_variables(
        in_stages, _INTERMEDIATES, trans_out_fn=of_layers, mutable=True
    )
    return whole(block, state)


def _check_collections(block: nn.Module) -> None:
    for name in block.variables:
        if name not in ("params", _INTERMEDIATES):
            raise ValueError(
                f"{type(block).__name__} has the collection {name!r}: layers that keep "
                "state between steps cannot be a pipeline of stages. Give the devices of "
                "the mesh axis `stage` to `data` or `fsdp`."
            )


def _parts(x: Array, num_parts: int) -> Array:
    """From `[b ...]` to `[parts b/parts ...]`; each part has examples of every device."""
    return jnp.swapaxes(x.reshape(-1, num_parts, *x.shape[1:]), 0, 1)


def _joined(x: Array) -> Array:
    """The inverse of `_parts`."""
    return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])


def _of_layers(path: Any, x: Array, plan: sharding.Pipelining, size: int) -> Array:
    """From `[ticks stages layers/stages b/parts ...]` to `[layers b ...]`."""
    if x.ndim < 4 or x.shape[3] != size:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        raise ValueError(
            f"The intermediate value `{name}` of a layer has the shape {x.shape[3:]}: in a "
            f"pipeline of stages, the first axis of each must be that of the {size} "
            "examples of a micro-batch. Store it for each example."
        )
    num_parts = plan.num_microbatches
    valid = [x[s : s + num_parts, s] for s in range(plan.num_stages)]
    by_layer = jnp.stack(valid).swapaxes(1, 2)  # [stages layers/stages parts size ...]
    by_layer = by_layer.reshape(-1, *by_layer.shape[2:])
    return jax.vmap(_joined)(by_layer)
