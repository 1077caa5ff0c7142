"""NaN-safe masking: masked elements affect neither the loss nor its gradient.

Masking values after they are computed is too late for gradients: the derivative of a
masked value is 0 times a derivative that may be NaN. So the inputs of a loss are
guarded before anything is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Bool, Float, PyTree

# Replaces a masked number that is not finite. Unlike 0 and 1, it is not a singularity
# of a logarithm, a quotient, a norm, or an inverse trigonometric function.
_HARMLESS = 0.5


def guard_tree(
    inputs: PyTree, is_masked_at: Callable[[tuple[int, ...]], Any]
) -> PyTree:
    """Guards the floating arrays of a tree; leaves everything else as it is.

    Args:
      inputs: Tree of arrays, and of whatever else a loss takes.
      is_masked_at: Function from the shape of an array to where it is masked, `bool`
        that can be broadcast to the shape; `None` where it has no axis of the mask.
    """

    def guard_leaf(x: object) -> Any:
        if not isinstance(x, jax.Array | np.ndarray):
            return x
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        is_masked = is_masked_at(x.shape)
        return x if is_masked is None else guard(x, is_masked)

    return jax.tree.map(guard_leaf, inputs)


@jax.custom_vjp
def guard(x: Float["*a"], is_masked: Bool["*#a"]) -> Float["*a"]:
    """Returns `x` without masked values that are not finite.

    Nothing else changes, so that a loss whose elements look at their neighbours has the
    value it had. In the gradient, too, only what is masked and not finite becomes 0: the
    masked value may have been finite, and its derivative not (`log(0)`).

    Args:
      x: Floating, any shape.
      is_masked: `bool`, can be broadcast to `x`.
    """
    return jnp.where(is_masked & ~jnp.isfinite(x), jnp.asarray(_HARMLESS, x.dtype), x)


def _forward(x: Array, is_masked: Array) -> tuple[jax.Array, Any]:
    is_replaced = is_masked & ~jnp.isfinite(x)
    return guard(x, is_masked), (is_masked, is_replaced)


def _backward(
    masks: tuple[Array, Array], gradient: jax.Array
) -> tuple[jax.Array, None]:
    is_masked, is_replaced = masks
    is_nothing = is_replaced | (is_masked & ~jnp.isfinite(gradient))
    return jnp.where(is_nothing, jnp.zeros_like(gradient), gradient), None


guard.defvjp(_forward, _backward)


def leading(mask: Array | float, shape: tuple[int, ...]) -> Bool | None:
    """Returns where an input is masked, by a mask whose axes are its leading axes.

    An axis of the input that is not in the mask is masked as a whole. For an axis of the
    mask that is not in the input (or is 1 there), everything along it has to be masked.

    Args:
      mask: Weights, any dtype; 0 is masked.
      shape: Shape of the input.

    Returns:
      `bool` that can be broadcast to the shape; `None` if the first axis is another one.
    """
    is_masked = ~jnp.asarray(mask, bool)
    num_shared = 0
    for size, own in zip(is_masked.shape, shape, strict=False):
        if own != size and 1 not in (own, size):
            break
        num_shared += 1
    if is_masked.ndim and not num_shared:
        return None
    is_masked = is_masked.all(axis=tuple(range(num_shared, is_masked.ndim)))
    spread = [i for i in range(num_shared) if shape[i] == 1]
    is_masked = is_masked.all(axis=tuple(spread), keepdims=True)
    return is_masked.reshape(*is_masked.shape, *(1,) * (len(shape) - num_shared))


def of_channels(mask: Array | float, shape: tuple[int, ...]) -> Bool | None:
    """Returns where an input `Array["b *space c"]` is masked, by a mask `Array["b"]` or
    `Array["b 1|c"]`."""
    mask = jnp.asarray(mask)
    if mask.ndim == 2 and len(shape) >= 2:
        mask = mask.reshape(mask.shape[0], *(1,) * (len(shape) - 2), mask.shape[1])
    return leading(mask, shape)
