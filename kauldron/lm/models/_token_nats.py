"""The loss of tokens from their logits, whose gradient is made in one pass.

`f32[tokens, vocab]` is the largest array of a step: every pass over it is felt. What is
kept for the gradient is the logits, which there are anyway, and one number for each token.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Bool, Float, Int


class Smoothing(NamedTuple):
    """What is added to a cross-entropy.

    Attributes:
      label: Share of the target that is spread evenly over the vocabulary.
      z_loss: Factor of the squared logarithm of the softmax's denominator.
    """

    label: float = 0.0
    z_loss: float = 0.0


NO_SMOOTHING = Smoothing()


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def nats_of_logits(
    logits: Float["*b v"],
    targets: Int["*b"],
    is_counted: Bool["*b"],
    smoothing: Smoothing,
) -> Float["*b"]:
    """Returns the cross-entropy of each token, smoothed, with its z-loss.

    Args:
      logits: Unnormalised scores.
      targets: Token ids in the vocabulary.
      is_counted: Where it is not, the loss is 0 and so is the gradient, whatever the
        logits are.
      smoothing: What is added to the cross-entropy.
    """
    return _forward(logits, targets, is_counted, smoothing)[0]


def _forward(
    logits: Array, targets: Array, is_counted: Array, smoothing: Smoothing
) -> tuple[jax.Array, Any]:
    log_sum = jax.nn.logsumexp(logits, axis=-1)
    own = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if smoothing.label:
        own = (1 - smoothing.label) * own + smoothing.label * logits.mean(axis=-1)
    values = log_sum - own
    if smoothing.z_loss:
        values += smoothing.z_loss * jnp.square(log_sum)
    return jnp.where(is_counted, values, 0), (logits, targets, is_counted, log_sum)


def _backward(smoothing: Smoothing, residuals: Any, cotangent: jax.Array) -> Any:
    logits, targets, is_counted, log_sum = residuals
    cotangent = jnp.where(is_counted, cotangent, 0)
    scale = 1 + 2 * smoothing.z_loss * log_sum if smoothing.z_loss else 1.0
    probs = jnp.exp(logits - log_sum[..., None])
    grad = (cotangent * scale)[..., None] * probs
    if smoothing.label:
        grad -= (smoothing.label / logits.shape[-1] * cotangent)[..., None]
    grad = jnp.where(is_counted[..., None], grad, 0)
    # A scatter, and no comparison with all ids: what reads the gradient more than once
    # would have XLA keep the softmax beside it.
    rows = [
        jax.lax.broadcasted_iota(jnp.int32, targets.shape, i)
        for i in range(targets.ndim)
    ]
    grad = grad.at[(*rows, targets)].add(
        (smoothing.label - 1) * cotangent, unique_indices=True
    )
    return (
        grad.astype(logits.dtype),
        np.zeros(targets.shape, jax.dtypes.float0),
        np.zeros(is_counted.shape, jax.dtypes.float0),
    )


nats_of_logits.defvjp(_forward, _backward)
