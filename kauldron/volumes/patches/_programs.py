"""The compiled programs of sliding windows: few, so that few are compiled.

That of the network depends on the size of the patches alone; those that blend know
nothing of the network.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Float, Int, PyTree
from kauldron.modules.patches import blending, tilings, windows


def network(fn: Callable[..., Any]) -> Callable[[Any], Any]:
    """Returns a compiled function of patches; the same for the same function.

    What a `functools.partial` binds are arguments of the program, not constants in it:
    other parameters don't compile again.
    """
    if not isinstance(fn, functools.partial):
        return compiled(fn)
    run = compiled(fn.func)
    return functools.partial(run, *fn.args, **fn.keywords)


# Not by reference count: a bound method, such as `model.apply`, is another object each
# time, and equal to the ones before it.
@functools.lru_cache(maxsize=8)
def compiled(fn: Callable[..., Any]) -> Any:
    """Returns a compiled function; one that is compiled already is returned itself."""
    return fn if hasattr(fn, "lower") else jax.jit(fn)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Explains the error of a function of patches that JAX cannot compile."""
    try:
        yield
    except jax.errors.TracerArrayConversionError as e:
        raise tilings.PatchError(
            "The function of patches is compiled by JAX, and this one turns its patches "
            "into NumPy arrays: compute with `jax.numpy`, or wrap what cannot in "
            "`jax.pure_callback`."
        ) from e


@functools.partial(jax.jit, donate_argnums=0)
def blend(
    means: PyTree,
    patches: PyTree,
    axes: Sequence[Array],
    placements: windows.Placement,
    first: Int[""],
    last: Int[""],
) -> Any:
    """Returns the means with the patches from `first` to before `last` blended in."""

    def add(i: jax.Array, means: PyTree) -> Any:
        patch, placement = _take((patches, placements), i)
        share = windows.share(axes, placement)
        return blending.blended(means, patch, share, placement.start, is_finite=False)

    return jax.lax.fori_loop(first, last, add, means)


@functools.partial(jax.jit, donate_argnums=0)
def blend_counted(
    counted: tuple[PyTree, Float["z y x 1"]],
    patches: PyTree,
    window: Float["z y x 1"],
    starts: Int["p 3"],
    first: Int[""],
    last: Int[""],
) -> Any:
    """Does what `blend` does, for a window that is no product of those of the axes.

    Args:
      counted: Means, and the sums of the windows of earlier patches.
      patches: Tree of `f[p *size c]`.
      window: Of a patch.
      starts: Of the patches.
      first: First patch.
      last: The one behind the last patch.
    """

    def add(i: jax.Array, counted: Any) -> Any:
        means, earlier = counted
        patch, start = _take((patches, starts), i)
        corner = (*start, 0)
        total = jax.lax.dynamic_slice(earlier, corner, window.shape) + window
        means = blending.blended(means, patch, window / total, start, is_finite=False)
        return means, jax.lax.dynamic_update_slice(earlier, total, corner)

    return jax.lax.fori_loop(first, last, add, counted)


@functools.partial(jax.jit, donate_argnums=0)
def advance(means: PyTree, step: Int[""]) -> Any:
    """Returns the means with the first planes left out and zeros behind the last."""

    def move(mean: jax.Array) -> jax.Array:
        behind = jnp.concatenate([mean, jnp.zeros_like(mean)])
        return jax.lax.dynamic_slice_in_dim(behind, step, mean.shape[0])

    return jax.tree.map(move, means)


def _take(tree: PyTree, i: jax.Array) -> Any:
    return jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree
    )
