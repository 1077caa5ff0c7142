"""The head of a decoder and its softmax, a part of the tokens at a time.

`f32[tokens, vocab]` is the largest array of a small model by far. Only one chunk of it
exists here: rows are cut into equal pieces along the tokens (not along the batch, which
stays split over the devices), and a scan goes through them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Float, Int
from kauldron.lm.models import _token_nats
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True)
class Head:
    """How hidden states become the loss of tokens.

    Attributes:
      num_chunks: Parts in which the tokens of a row are worked on.
      is_transposed: Whether the kernel is `[vocab, features]`, as an embedding is.
      softcap: Bound of the logits; `None` for none.
      smoothing: What is added to the cross-entropy.
    """

    num_chunks: int
    is_transposed: bool = False
    softcap: float | None = None
    smoothing: _token_nats.Smoothing = _token_nats.NO_SMOOTHING

    def nats(
        self, hidden: Float["*b c d"], kernel: Float["n m"], targets: Int["*b c"]
    ) -> Float["*b c"]:
        """Returns the loss of each token, with all logits at once."""
        kernel = kernel.astype(hidden.dtype)
        # As the transpose of a product, XLA reads the embedding where it is.
        contract = ((hidden.ndim - 1,), (1 if self.is_transposed else 0,))
        logits = jax.lax.dot_general(
            hidden,
            kernel,
            (contract, ((), ())),
            preferred_element_type=arrays.wide_dtype(hidden.dtype),
        )
        if self.softcap is not None:
            logits = self.softcap * jnp.tanh(logits / self.softcap)
        is_counted = jnp.ones(targets.shape, bool)
        return _token_nats.nats_of_logits(logits, targets, is_counted, self.smoothing)


def token_nats(
    hidden: Float["*b n d"], kernel: Float["p q"], targets: Int["*b n"], *, head: Head
) -> Float["*b n"]:
    """Returns the loss of each token; the backward pass computes the logits again.

    Args:
      hidden: What the head reads.
      kernel: The kernel of the head.
      targets: Token ids in the vocabulary.
      head: How they become a loss.
    """
    rows, tokens = _in_chunks(hidden, -2, head), _in_chunks(targets, -1, head)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def chunk(kernel: Array, x: tuple[Array, Array]) -> tuple[Array, jax.Array]:
        return kernel, head.nats(x[0], kernel, x[1])

    _, values = jax.lax.scan(chunk, kernel, (rows, tokens))
    return _joined(values, -1, targets.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def total_nats(
    hidden: Float["*b n d"],
    kernel: Float["p q"],
    targets: Int["*b n"],
    weights: Float["*b n"],
    head: Head,
) -> jax.Array:
    """Returns the weighted sum of the losses of all tokens, a scalar.

    Its gradient comes out of the forward pass, chunk by chunk, and is only scaled
    later: no logits are kept, and none computed twice.

    Args:
      hidden: What the head reads.
      kernel: The kernel of the head.
      targets: Token ids in the vocabulary.
      weights: Of the tokens; where 0, the loss of a token is not looked at.
      head: How they become a loss.
    """
    return _sum_chunks(hidden, kernel, targets, weights, head)


def _sum_chunks(
    hidden: Array, kernel: Array, targets: Array, weights: Array, head: Head
) -> jax.Array:
    def chunk(total: jax.Array, x: Any) -> tuple[jax.Array, None]:
        hidden, targets, weights = x
        values = head.nats(hidden, kernel, targets)
        return total + _weighted(values, weights).sum(), None

    chunks = _chunks(hidden, targets, weights, head)
    start = jnp.zeros((), arrays.wide_dtype(hidden.dtype))
    return jax.lax.scan(chunk, start, chunks)[0]


def _forward(
    hidden: Array, kernel: Array, targets: Array, weights: Array, head: Head
) -> tuple[jax.Array, Any]:
    def chunk(carry: Any, x: Any) -> tuple[Any, Any]:
        total, kernel_grad = carry
        hidden, targets, weights = x

        def losses_of(hidden: Array, kernel: Array) -> tuple[jax.Array, jax.Array]:
            values = head.nats(hidden, kernel, targets)
            return _weighted(values, weights).sum(), values

        own, pull_back, values = jax.vjp(losses_of, hidden, kernel, has_aux=True)
        hidden_grad, grad = pull_back(jnp.ones_like(own))
        return (total + own, kernel_grad + grad), (hidden_grad, values)

    wide = arrays.wide_dtype(hidden.dtype)
    start = jnp.zeros((), wide), jnp.zeros(kernel.shape, wide)
    chunks = _chunks(hidden, targets, weights, head)
    (total, kernel_grad), (hidden_grad, values) = jax.lax.scan(chunk, start, chunks)
    length = targets.shape[-1]
    residuals = (
        _joined(hidden_grad, -2, length),
        kernel_grad.astype(kernel.dtype),
        _joined(values, -1, length),
    )
    return total, residuals


def _backward(head: Head, residuals: Any, cotangent: jax.Array) -> Any:
    del head
    hidden_grad, kernel_grad, values = residuals
    return (
        (cotangent * hidden_grad).astype(hidden_grad.dtype),
        (cotangent * kernel_grad).astype(kernel_grad.dtype),
        np.zeros(values.shape, jax.dtypes.float0),
        cotangent * values,
    )


total_nats.defvjp(_forward, _backward)


def _weighted(values: Array, weights: Array) -> jax.Array:
    # `where` and not `*`: a masked NaN must not become part of the sum.
    return jnp.where(weights == 0, 0, values * weights)


def _chunks(hidden: Array, targets: Array, weights: Array, head: Head) -> Any:
    return (
        _in_chunks(hidden, -2, head),
        _in_chunks(targets, -1, head),
        _in_chunks(weights, -1, head),
    )


def _in_chunks(x: Array, axis: int, head: Head) -> jax.Array:
    """Returns the array with the parts of an axis first; the last is filled with 0."""
    axis += x.ndim
    size = -(-x.shape[axis] // head.num_chunks)
    missing = size * head.num_chunks - x.shape[axis]
    fill = [(0, missing if i == axis else 0) for i in range(x.ndim)]
    x = jnp.pad(x, fill) if missing else x
    x = x.reshape(*x.shape[:axis], head.num_chunks, size, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def _joined(x: jax.Array, axis: int, length: int) -> jax.Array:
    """Undoes `_in_chunks`."""
    axis += x.ndim - 1
    x = jnp.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    return jax.lax.slice_in_dim(x, 0, length, axis=axis)
