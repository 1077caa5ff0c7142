"""Gradient accumulation: full-batch gradients in the memory of a micro-batch.

The loss of a batch is a function `f` of the loss states of its micro-batches: they are
merged, then each is a total divided by a count. So its gradient is the sum, over
micro-batches, of the gradient of their states, weighted by the derivative of `f`. That is
exact for any masks and weights, and for a micro-batch that is fully masked.

The derivative of `f` is taken at the states of all micro-batches, which takes a
separate pass over them. For means, the derivative needs only the counts: where these
come from the batch, as those of masks do, the compiler removes the model from that
pass.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, losses, metrics, sharding
from kauldron._base import errors
from kauldron.ktyping import Array, PyTree, ScalarInt
from kauldron.step import _f32_sums
from kauldron.step.context import Context

# Runs model and losses on a micro-batch: `run(context, index=...)`.
Run = Callable[..., Context]

# Per-example results of a forward pass, which are put together again.
_PER_EXAMPLE = ("batch", "preds", "interms")


class AccumulationError(errors.UserError, ValueError):
    """A batch that cannot be divided, or a model that only works on whole batches."""


def compute_grads(
    context: Context,
    run: Run,
    *,
    num_microbatches: int,
    batch_sharding: sharding.ShardingTree,
    loss_scale: jax.Array | None = None,
) -> tuple[Any, Context]:
    """Returns the gradient of the total loss of a batch, computed in parts.

    Args:
      context: With the whole batch, parameters and collections.
      run: Returns the context of a micro-batch: `loss_states`, `collections`, and
        per-example values. It sees the collections that the previous one left.
      num_microbatches: In how many parts; example `i` is in part `i % num_microbatches`.
      batch_sharding: Placement of the batch, and of each part.
      loss_scale: Factor of the gradient.

    Returns:
      The gradients, and the context of the whole batch: predictions in the order of the
      examples, merged loss states, the collections that the last part left.

    Raises:
      AccumulationError: If something does not divide.
    """
    check_part = functools.partial(sharding.check_batch, shardings=batch_sharding)
    check_divides(context.batch, num_microbatches, check_part)
    specs = jax.eval_shape(functools.partial(run, index=0), context)
    indices = jnp.arange(num_microbatches)

    def run_part(params: PyTree, collections: PyTree, index: ScalarInt) -> Context:
        batch = take_part(context.batch, index, num_microbatches)
        batch = sharding.with_sharding_constraint(batch, batch_sharding)
        part = dataclasses.replace(
            context, params=params, collections=collections, batch=batch
        )
        return run(part, index=index)

    _check_collections(context.collections, specs.collections)
    states = _scan_states(run_part, context, indices)
    weights = _differentiate(states, num_microbatches, loss_scale)
    grads, collections, parts = _scan_grads(run_part, context, indices, weights)
    # Not those of the first pass: then the compiler could not remove the model from it.
    merged = _merge(parts.pop("loss_states"), num_microbatches)
    whole = {
        name: join(parts[name], getattr(specs, name), prefix=name)
        for name in _PER_EXAMPLE
    }
    return grads, dataclasses.replace(
        context,
        collections=collections,
        loss_states=merged,
        loss_total=losses.total_of(merged),
        **whole,
    )


def _scan_states(
    run_part: Callable[..., Any], context: Context, indices: jax.Array
) -> Any:
    """Returns the loss states of all micro-batches, along a new first axis."""

    def step(collections: PyTree, index: ScalarInt) -> tuple[Any, Any]:
        part = run_part(context.params, collections, index)
        return part.collections, part.loss_states

    _, states = jax.lax.scan(step, context.collections, indices)
    return states


def _differentiate(
    states: PyTree, num_microbatches: int, loss_scale: jax.Array | None
) -> list[jax.Array]:
    """Returns the derivative of the total by the floating leaves of the states."""
    floats, rebuild = _split_floats(states)

    def total_of(floats: list[jax.Array]) -> jax.Array:
        total = losses.total_of(_merge(rebuild(floats), num_microbatches))
        return total if loss_scale is None else total * loss_scale

    return jax.grad(total_of)(floats)


def _merge(states: PyTree, num_microbatches: int) -> Any:
    """Returns one tree of states from those of all micro-batches."""
    parts = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(num_microbatches)]

    def merge(a: PyTree, b: PyTree) -> Any:
        return jax.tree.map(
            lambda x, y: x.merge(y), a, b, is_leaf=metrics.State.isinstance
        )

    return functools.reduce(merge, parts)


def _scan_grads(
    run_part: Callable[..., Any],
    context: Context,
    indices: jax.Array,
    weights: Any,
) -> tuple[Any, Any, Any]:
    """Returns the gradients, the last collections, and stacked values of examples."""
    floats, rebuild = _split_floats(context.params)

    def step(carry: PyTree, x: tuple[jax.Array, Any]) -> tuple[Any, Any]:
        grads, collections = carry
        index, weights = x

        def states_of(floats: list[jax.Array]) -> tuple[list[jax.Array], Context]:
            part = run_part(rebuild(floats), collections, index)
            return _split_floats(part.loss_states)[0], part

        _, pull_back, part = _f32_sums.value_and_pull_back(states_of, floats)
        new = pull_back(weights)
        grads = [
            total + g.astype(total.dtype) for total, g in zip(grads, new, strict=True)
        ]
        return (grads, part.collections), {
            name: getattr(part, name) for name in (*_PER_EXAMPLE, "loss_states")
        }

    zeros = [
        jnp.zeros_like(x, dtype=jnp.promote_types(x.dtype, jnp.float32)) for x in floats
    ]
    carry, parts = jax.lax.scan(step, (zeros, context.collections), (indices, weights))
    grads, collections = carry
    grads = [g.astype(x.dtype) for g, x in zip(grads, floats, strict=True)]
    # Integer parameters have gradients of a dtype without values, as in `jax.grad`.
    nothing = jax.tree.map(
        lambda x: np.zeros(x.shape, jax.dtypes.float0), context.params
    )
    return _split_floats(context.params, others=nothing)[1](grads), collections, parts


def _split_floats(tree: PyTree, others: PyTree = None) -> tuple[list[jax.Array], Any]:
    """Returns the floating leaves, and a function from such leaves to the tree.

    Args:
      tree: Tree of arrays.
      others: Tree of the same structure, with the leaves that are not floating; those of
        `tree` unless given.
    """
    leaves, structure = jax.tree.flatten(tree)
    fixed = leaves if others is None else jax.tree.leaves(others)
    is_float = [jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves]

    def rebuild(floats: list[jax.Array]) -> Any:
        rest = iter(floats)
        return structure.unflatten(
            next(rest) if yes else x for x, yes in zip(fixed, is_float, strict=True)
        )

    return [x for x, yes in zip(leaves, is_float, strict=True) if yes], rebuild


def _check_collections(before: PyTree, after: PyTree) -> None:
    """Raises if a step changes the structure of collections, which a scan cannot."""

    def shapes(tree: PyTree) -> dict[str, Any]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {
            jax.tree_util.keystr(path, simple=True, separator="."): (x.shape, x.dtype)
            for path, x in leaves
        }

    old, new = shapes(before), shapes(after)
    changed = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    if changed:
        raise AccumulationError(
            "With `cfg.grad_accum_steps`, the model must leave its collections as they "
            f"are in structure, shapes and dtypes: {changed[:5]} of `collections` changed."
        )


def take_part(batch: PyTree, index: ScalarInt, num_microbatches: int) -> Any:
    """Returns one micro-batch: every `num_microbatches`-th example, from `index` on.

    Every device holds examples of each part of an array that is sharded along its first
    axis: none has to send anything. Scalars belong to every part.
    """

    def take(x: jax.Array) -> jax.Array:
        if not x.ndim:
            return x
        x = x.reshape(x.shape[0] // num_microbatches, num_microbatches, *x.shape[1:])
        return jax.lax.dynamic_index_in_dim(x, index, axis=1, keepdims=False)

    return jax.tree.map(take, batch)


def join(parts: PyTree, specs: PyTree, *, prefix: str) -> Any:
    """Puts values of micro-batches together, as one batch would give them.

    Args:
      parts: Tree of arrays with the micro-batches along the first axis.
      specs: The same tree with the shapes that a whole batch gives. The axis that is
        longer there is the axis of the examples. Without any, floats are averaged, and of
        other values the last micro-batch decides.
      prefix: Name of the tree, for errors.

    Raises:
      AccumulationError: If several axes are longer.
    """

    def join_array(path: tuple[Any, ...], x: jax.Array, spec: Any) -> jax.Array:
        sizes = zip(x.shape[1:], spec.shape, strict=True)
        longer = [i for i, (part, whole) in enumerate(sizes) if part != whole]
        if not longer:
            is_float = jnp.issubdtype(x.dtype, jnp.inexact)
            return _mean(x) if is_float else x[-1]
        if len(longer) > 1:
            key = kontext.Path(prefix, *(_name(p) for p in path))
            raise AccumulationError(
                f"`{key}` compares the examples of a batch with each other (shape "
                f"{spec.shape}), so it cannot be put together from micro-batches. Leave it "
                "out of what the model returns, or set `cfg.grad_accum_steps = 1`."
            )
        # From `[k, *a, m, *c]` to `[*a, m * k, *c]`.
        return jnp.moveaxis(x, 0, longer[0] + 1).reshape(spec.shape)

    return jax.tree_util.tree_map_with_path(join_array, parts, specs)


def _mean(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean(0).astype(x.dtype)


def _name(entry: object) -> Any:
    """Returns the part of a path that a JAX key entry stands for."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return str(entry)


def check_divides(
    batch: PyTree, num_microbatches: int, check_part: Callable[[PyTree], None]
) -> None:
    """Raises if a batch does not divide into micro-batches, and these over the devices.

    Args:
      batch: The global batch: arrays, or anything with `shape`.
      num_microbatches: In how many parts.
      check_part: Raises a `BatchSizeError` for a part that cannot be placed.

    Raises:
      AccumulationError: If it does not.
    """

    def part(path: tuple[Any, ...], x: Array) -> jax.ShapeDtypeStruct:
        if x.shape and x.shape[0] % num_microbatches:
            key = kontext.Path("batch", *(_name(p) for p in path))
            fits = [n for n in range(2, x.shape[0] + 1) if x.shape[0] % n == 0]
            raise AccumulationError(
                f"`cfg.grad_accum_steps` must divide the batch: got {num_microbatches} "
                f"steps, and {x.shape[0]} examples in `{key}`. {fits[:6]} do."
            )
        shape = (x.shape[0] // num_microbatches, *x.shape[1:]) if x.shape else ()
        return jax.ShapeDtypeStruct(shape, x.dtype)

    parts = jax.tree_util.tree_map_with_path(part, batch)
    try:
        check_part(parts)
    except sharding.BatchSizeError as e:
        raise AccumulationError(
            f"With `cfg.grad_accum_steps = {num_microbatches}`, each micro-batch must "
            "divide over the devices: use a `batch_size` that is a multiple of "
            f"{num_microbatches} x the number of devices, or fewer steps.\n{e}"
        ) from e


def mixing_parts(loss_tree: PyTree, collections: PyTree) -> list[str]:
    """Returns what in a run depends on which examples share a batch."""
    found = []
    if isinstance(collections, Mapping) and "batch_stats" in collections:
        found.append("batch norm (it normalises by each micro-batch)")
    leaves = jax.tree.leaves(loss_tree, is_leaf=lambda x: isinstance(x, losses.Loss))
    found += [
        f"{type(loss).__name__} (it compares the examples of each micro-batch)"
        for loss in leaves
        if loss.compares_examples
    ]
    return found
