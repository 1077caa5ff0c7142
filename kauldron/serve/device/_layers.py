"""One copy of the blocks in a program, which runs for all layers of a model.

For each instruction, XLA keeps some KB as long as a program is there, and takes as much
again to compile it: thirty copies of a block make 40 MB, and a second for each of them is
waited for. A loop has one copy. Weights are no part of what it carries: slices of an array
of all layers would be copied in each step. Instead, a linear map chooses among as many
products as there are layers, each with weights that lie where they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from kauldron import modules as kd_nn
from kauldron.ktyping import Array, Int, PyTree
from kauldron.serve.device import _adapters, _kernels
from kauldron.serve.device._paged_cache import PagedCache

# Other weights than those of linear maps, norms above all, are copied in each step.
_MOST_COPIED = 2**16


def have_one_copy(model: kd_nn.CausalLM, params: PyTree) -> bool:
    """Whether all layers of a model can be run by one copy of its blocks.

    It is so on a CPU, if the blocks are repeated at least twice, keep the same of each
    token, and have no large weights but those of linear maps.
    """
    period, number = len(model.blocks), model.num_layers
    if jax.default_backend() != "cpu" or model.scan_layers or model.first_blocks:
        return False
    if number % period or number < 2 * period:
        return False
    specs = model.init_cache(lambda spec: dict(spec.shapes))
    if any(spec != specs[0] for spec in specs):
        return False
    layers = [params[f"layer_{i}"] for i in range(number)]
    if any(_kinds(layers[i]) != _kinds(layers[i % period]) for i in range(number)):
        return False
    linear = _kernels.linear_maps(model)
    return all(
        x.size <= _MOST_COPIED
        for i in range(period)
        for x in _others(params, linear, i).values()
    )


def _kinds(tree: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype) for x in leaves]


def _others(
    params: Mapping[str, Any], linear: Mapping[str, Any], layer: int
) -> dict[tuple[str, ...], Any]:
    """Returns the weights of a layer that are not those of linear maps."""
    flat: dict[Any, Any] = traverse_util.flatten_dict(params[f"layer_{layer}"])
    found = {}
    for path, x in flat.items():
        modules = (".".join((f"layer_{layer}", *path[:n])) for n in range(len(path)))
        if not any(name in linear for name in modules):
            found[path] = x
    return found


class LinearMaps(NamedTuple):
    """The weights of linear maps, and what is added to them.

    Attributes:
      params: Of the model, in floats.
      kernels: Those that are not in `params`, by group.
      adapters: Of all adapters together, by module.
      rows: Index of each row's adapter.
      rounds: Whether what is multiplied by kernels is rounded to their dtype.
    """

    params: Mapping[str, Any]
    kernels: Mapping[str, Any]
    adapters: Mapping[str, Any]
    rows: Int["*b"]
    rounds: bool


def in_one_copy(model: kd_nn.CausalLM, maps: LinearMaps) -> Any:
    """Returns a context in which the first layer runs them all, and the others nothing.

    Args:
      model: The decoder; its cache is one `PagedCache` of all layers, given to each.
      maps: Of its layers.
    """
    linear, period = _kernels.linear_maps(model), len(model.blocks)

    def stacked(place: int) -> dict[str, Any]:
        layers = range(place, model.num_layers, period)
        some = [_others(maps.params, linear, layer) for layer in layers]
        return traverse_util.unflatten_dict(jax.tree.map(_stacked, *some))

    def run(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        is_layer = isinstance(module, kd_nn.DecoderBlock) and len(module.path) == 1
        if not is_layer or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, positions, segment_ids, cache = args
        if module.path != ("layer_0",):
            return x, cache
        others = [stacked(place) for place in range(period)]

        def one_round(index: Int[""], carry: tuple[Any, PagedCache]) -> Any:
            x, cache = carry
            for place, block in enumerate(model.blocks):
                layers = range(place, model.num_layers, period)
                own = jax.tree.map(lambda w: w[index], others[place])
                of_layer = cache.of_layer(index * period + place)
                with _chosen(maps, linear, layers, index):
                    result: Any = block.apply(
                        {"params": own}, x, positions, segment_ids, of_layer
                    )
                x, after = result
                cache = after.replace(tables=cache.tables)
            return x, cache

        result, _ = jax.eval_shape(one_round, jnp.int32(0), (x, cache))
        start = x.astype(result.dtype), cache
        return jax.lax.fori_loop(0, model.num_layers // period, one_round, start)

    return nn.intercept_methods(run)


def _chosen(
    maps: LinearMaps,
    linear: Mapping[str, _kernels.LinearMap],
    layers: Iterable[int],
    index: Int[""],
) -> Any:
    """Returns a context in which linear maps of a block are those of a layer.

    Args:
      maps: Of all layers.
      linear: What is known of them.
      layers: Those that the block is of.
      index: Which of them it is.
    """
    products = _kernels.Products(rounds=maps.rounds)

    def run(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        is_linear = isinstance(module, kd_nn.Projection) and module.path
        if not is_linear or context.method_name != "__call__":
            return call(*args, **kwargs)
        (x,) = args
        names = [".".join((f"layer_{layer}", *module.path)) for layer in layers]
        own = [_at(maps.params, name) for name in names]
        kept = [linear[name].kept_in(maps.kernels) for name in names]
        if kept[0] is not None:
            kernels = [maps.kernels[some.key] for some in kept if some is not None]
            bias = None
            if module.use_bias:
                bias = _stacked(*(some["bias"] for some in own))[index]
            y = products.of(module, kept[0], x, kernels, bias, index)
        else:
            apply = module.copy(parent=None, name=None).apply
            y = _switched(apply, index, [{"params": some} for some in own], x)
        if names[0] not in maps.adapters:
            return y
        update = functools.partial(_adapters.update, index=maps.rows)
        pairs = [maps.adapters[name] for name in names]
        added = _switched(lambda pair, x: update(x, pair), index, pairs, x)
        return y + added.reshape(y.shape).astype(y.dtype)

    return nn.intercept_methods(run)


def _switched(
    function: Callable[..., Any], index: Int[""], choices: Sequence[Any], x: Any
) -> Any:
    branches = [functools.partial(function, some) for some in choices]
    return jax.lax.switch(index, branches, x)


def _stacked(*arrays: Array["*any"]) -> Array["*any"]:
    return jnp.stack(arrays)


def _at(tree: Mapping[str, Any], path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part, {})
    return tree
