"""Trees of weights with low-rank updates: which axes go in, which come out, and sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from kauldron import modules as kd_nn
from kauldron._base import errors
from kauldron.kontext import leaf_globs
from kauldron.ktyping import Array, PRNGKey, PyTree

# Axes that hold several weights, each with an update of its own.
_STACKED = ("layers", "expert")


class LoRAError(errors.UserError, ValueError):
    """Adapters that do not fit a model."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A weight as matrices: `[*stacked, *inputs, *outputs]`.

    Attributes:
      shape: Of the weight.
      names: Logical name of each axis.
      num_stacked: How many leading axes count weights.
      num_in: How many axes after these are inputs.
    """

    shape: tuple[int, ...]
    names: tuple[str | None, ...]
    num_stacked: int
    num_in: int

    @classmethod
    def of_names(
        cls, shape: tuple[int, ...], names: Sequence[str | None]
    ) -> Matrix | None:
        """Returns how a weight is one, by the names of its axes; `None` if it is none."""
        names = tuple(names) or (None,) * len(shape)
        num_stacked = 0
        while num_stacked < len(names) and names[num_stacked] in _STACKED:
            num_stacked += 1
        rest = names[num_stacked:]
        if len(rest) < 2:
            return None
        # Heads come out of `embed -> heads head_dim`, and go into `heads head_dim -> embed`.
        goes_out = rest[-1] == "embed" and rest[0] != "embed"
        return cls(shape, names, num_stacked, len(rest) - 1 if goes_out else 1)

    @property
    def stacked(self) -> tuple[int, ...]:
        return self.shape[: self.num_stacked]

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.shape[self.num_stacked : self.num_stacked + self.num_in]

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.shape[self.num_stacked + self.num_in :]

    def init(self, rng: PRNGKey, rank: int, dtype: Any) -> dict[str, Any]:
        """Returns `a`, small and random, and `b`, zero: the update is zero."""
        bound = 1 / math.sqrt(math.prod(self.inputs))
        split = self.num_stacked + self.num_in
        stacked = self.names[: self.num_stacked]

        def uniform(rng: PRNGKey, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            return jax.random.uniform(rng, shape, dtype, -bound, bound)

        named = kd_nn.with_logical_axes
        init_a = named(uniform, (*self.names[:split], None))
        init_b = named(nn.initializers.zeros, (*stacked, None, *self.names[split:]))
        return {
            "a": init_a(rng, (*self.stacked, *self.inputs, rank), dtype),
            "b": init_b(rng, (*self.stacked, rank, *self.outputs), dtype),
        }


def update_of(a: Array, b: Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns `a @ b`, as a weight of this shape, in f32 at least."""
    num_stacked = a.ndim + b.ndim - 2 - len(shape)
    stacked, rank = shape[:num_stacked], a.shape[-1]
    a = a.reshape(*stacked, -1, rank)
    b = b.reshape(*stacked, rank, -1)
    product = jnp.matmul(a, b, preferred_element_type=jnp.float32)
    return product.reshape(shape)


def add_updates(base: PyTree, adapters: Mapping[str, Any], *, scale: float) -> Any:
    """Returns the weights with `scale * a @ b` added where there are adapters.

    Args:
      base: Nested dicts of weights.
      adapters: The same nesting, with `{"a": ..., "b": ...}` in the place of a weight.
      scale: Factor of the updates.
    """
    flat, updates = flatten(base), flatten(adapters)
    for path, a in updates.items():
        if path[-1] == "a":
            weight = flat[path[:-1]]
            update = scale * update_of(a, updates[*path[:-1], "b"], weight.shape)
            # In f32: a small update must not vanish before it is added.
            wide = weight.astype(jnp.promote_types(weight.dtype, jnp.float32))
            flat[path[:-1]] = (wide + update).astype(weight.dtype)
    return traverse_util.unflatten_dict(flat)


def init_adapters(
    params: PyTree,
    names: PyTree,
    targets: Sequence[str],
    *,
    rank: int,
    make_rng: Callable[[], PRNGKey],
) -> Any:
    """Returns adapters of the weights that some glob matches.

    Args:
      params: The weights.
      names: The same tree, with the logical names of the axes.
      targets: Globs of paths.
      rank: Of the updates.
      make_rng: Returns a new key.

    Raises:
      LoRAError: If a glob matches nothing, or what it names is no matrix.
    """
    flat, flat_names, adapters = flatten(params), flatten(names), {}
    chosen = matching(flat, targets)
    for path in chosen:
        weight = flat[path]
        matrix = Matrix.of_names(weight.shape, tuple(flat_names[path]))
        if matrix is None:
            raise LoRAError(
                f"A low-rank update needs a matrix: `{'.'.join(path)}`, which "
                f"`targets={list(targets)}` matches, has the shape {weight.shape}."
            )
        if rank > min(math.prod(matrix.inputs), math.prod(matrix.outputs)):
            raise LoRAError(
                f"`rank={rank}` is more than `{'.'.join(path)}` has, a matrix "
                f"{math.prod(matrix.inputs)} x {math.prod(matrix.outputs)}."
            )
        for side, value in matrix.init(make_rng(), rank, weight.dtype).items():
            adapters[*path, side] = value
    return traverse_util.unflatten_dict(adapters)


def matching(
    flat: Mapping[tuple[str, ...], Any], targets: Sequence[str]
) -> list[tuple[str, ...]]:
    """Returns the paths that some glob matches, in their order.

    Raises:
      LoRAError: If a glob matches nothing.
    """
    paths, chosen = [".".join(path) for path in flat], set()
    for target in targets:
        found = leaf_globs.matches(target, paths)
        if not any(found):
            name = f"glob {target!r} of `targets`"
            raise LoRAError(leaf_globs.no_match(name, target, paths))
        chosen |= {path for path, yes in zip(flat, found, strict=True) if yes}
    return [path for path in flat if path in chosen]


def boxed(base: PyTree, names: PyTree) -> Any:
    """Returns weights with the names of their axes, as `kd.nn.logical_axes` asks for.

    Args:
      base: Nested dicts of weights; in the place of one there may be a dict of arrays with
        the same axes.
      names: The tree of weights, with the logical names of the axes.
    """
    flat_names = flatten(names)

    def box(path: tuple[str, ...], x: Array) -> Any:
        spec = tuple(flat_names[path] if path in flat_names else flat_names[path[:-1]])
        if not spec:
            return x
        kept = [n if size > 1 else None for n, size in zip(spec, x.shape, strict=True)]
        return nn.LogicallyPartitioned(x, tuple(kept))

    flat = {path: box(path, x) for path, x in flatten(base).items()}
    return traverse_util.unflatten_dict(flat)


def flatten(tree: PyTree) -> dict[tuple[str, ...], Any]:
    """Returns nested dicts as one, of paths."""
    return dict(traverse_util.flatten_dict(tree)) if tree else {}
