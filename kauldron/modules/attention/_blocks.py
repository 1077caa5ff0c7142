"""Attention block by block: memory grows with the length, not with its square.

Queries go in blocks, and for each of them the keys: the running maximum and sum of the
softmax are corrected with every block. The backward pass computes the weights again
from their logarithmic sums. Blocks that nobody sees are never computed.

Reference: Dao et al. 2022, FlashAttention, arXiv:2205.14135, algorithms 1 and 4.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Bool, Float, ScalarInt
from kauldron.modules.attention import _visibility


class Spec(NamedTuple):
    """What is fixed when attention is compiled."""

    rule: _visibility.Rule
    scale: float
    softcap: float | None


class Inputs(NamedTuple):
    """Queries in `b k g t h`, keys and values in `b k s h`: `g` queries share a key.

    The bias and the mask are broadcastable to `b k g t s`.
    """

    query: Float["b k g t h"]
    key: Float["b k s h"]
    value: Float["b k s v"]
    bias: Float["*any"] | None


class Places(NamedTuple):
    """Where queries and keys stand, and the mask on top."""

    query: _visibility.Side
    key: _visibility.Side
    mask: Bool["*any"] | None


def scores(spec: Spec, x: Inputs, places: Places) -> Float["b k g t s"]:
    """Returns the logits of the softmax in f32, `-inf` where nothing is seen."""
    logits = _products(spec, x)
    if spec.softcap is not None:
        logits = spec.softcap * jnp.tanh(logits / spec.softcap)
    return _biased(spec, logits, x, places)


def _products(spec: Spec, x: Inputs) -> Float["b k g t s"]:
    products = jnp.einsum(
        "bkgth,bksh->bkgts", x.query, x.key, preferred_element_type=jnp.float32
    )
    return products * spec.scale


def _biased(
    spec: Spec, logits: Float["b k g t s"], x: Inputs, places: Places
) -> Float["b k g t s"]:
    if x.bias is not None:
        logits = logits + x.bias.astype(jnp.float32)
    sees = _visibility.visible(spec.rule, places.query, places.key, places.mask)
    return logits if sees is None else jnp.where(sees, logits, -jnp.inf)


def mixed(weights: Float["b k g t s"], value: Float["b k s v"]) -> Float["b k g t v"]:
    """Returns the sums of values by weights, in f32."""
    return jnp.einsum(
        "bkgts,bksv->bkgtv",
        weights.astype(value.dtype),
        value,
        preferred_element_type=jnp.float32,
    )


def finite(maximum: Float["*any"]) -> Float["*any"]:
    """Returns 0 for a query that sees nothing: its weights are then `exp(-inf)`."""
    return jnp.where(jnp.isneginf(maximum), 0.0, maximum)


class Sums(NamedTuple):
    """What the blocks of keys read so far have in common.

    Attributes:
      total: Sums of values by weights.
      maximum: Of the logits; the weights are those of `exp(logits - maximum)`.
      norm: Sums of the weights.
    """

    total: Float["*b t v"]
    maximum: Float["*b t"]
    norm: Float["*b t"]


def empty_sums(shape: tuple[int, ...], width: int) -> Sums:
    """Returns the sums of no keys, for queries `*b t` and values of this width."""
    return Sums(
        jnp.zeros((*shape, width), jnp.float32),
        jnp.full(shape, -jnp.inf, jnp.float32),
        jnp.zeros(shape, jnp.float32),
    )


def folded(sums: Sums, logits: Float["b k g t s"], value: Float["b k s v"]) -> Sums:
    """Returns the sums with one more block of keys."""
    higher = jnp.maximum(sums.maximum, logits.max(axis=-1))
    weights = jnp.exp(logits - finite(higher)[..., None])
    correction = jnp.exp(sums.maximum - finite(higher))
    total = sums.total * correction[..., None] + mixed(weights, value)
    return Sums(total, higher, sums.norm * correction + weights.sum(axis=-1))


def mean_of(sums: Sums) -> Float["*b t v"]:
    """Returns the mean of the values by weights; zeros if nothing was seen."""
    return sums.total / jnp.where(sums.norm == 0, 1.0, sums.norm)[..., None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attend(
    spec: Spec, block: tuple[int, int], x: Inputs, places: Places
) -> Float["b k g t v"]:
    """Returns attention; lengths are multiples of `block` (queries, keys)."""
    return _forward(spec, block, x, places)[0]


def _forward(
    spec: Spec, block: tuple[int, int], x: Inputs, places: Places
) -> tuple[Float["b k g t v"], Float["b k g t"]]:
    first, end = _visibility.needed_blocks(spec.rule, places.query, places.key, *block)
    *lead, t, _ = x.query.shape
    width = x.value.shape[-1]

    def row(_: None, i: ScalarInt):
        def column(j: ScalarInt, sums: Sums) -> Sums:
            here, there = _pair(block, x, places, i, j)
            return folded(sums, scores(spec, here, there), here.value)

        start = empty_sums((*lead, block[0]), width)
        sums = jax.lax.fori_loop(first[i], end[i], column, start)
        norm, maximum = sums.norm, sums.maximum
        out = mean_of(sums)
        # Infinite: the backward pass then finds weights `exp(-inf)`.
        log_norm = jnp.where(norm == 0, jnp.inf, finite(maximum) + jnp.log(norm))
        return None, (out.astype(x.query.dtype), log_norm)

    _, (out, log_norm) = jax.lax.scan(row, None, jnp.arange(t // block[0]))
    return _joined(out), _joined(log_norm[..., None])[..., 0]


def _joined(rows: Array["m b k g t v"]) -> Array["b k g n v"]:
    m, b, k, g, t, v = rows.shape
    return jnp.moveaxis(rows, 0, 3).reshape(b, k, g, m * t, v)


def _pair(
    block: tuple[int, int], x: Inputs, places: Places, i: ScalarInt, j: ScalarInt
) -> tuple[Inputs, Places]:
    """Returns block `i` of the queries with block `j` of the keys."""
    cut = _visibility.block_of

    def both(table: Array["*any"] | None) -> Array["*any"] | None:
        if table is None:
            return None
        return cut(cut(table, i, block[0], 3), j, block[1], 4)

    here = Inputs(
        query=cut(x.query, i, block[0], 3),
        key=cut(x.key, j, block[1], 2),
        value=cut(x.value, j, block[1], 2),
        bias=both(x.bias),
    )
    side = _visibility.side_block
    there = Places(
        query=side(places.query, i, block[0]),
        key=side(places.key, j, block[1]),
        mask=both(places.mask),
    )
    return here, there


def _attend_fwd(spec: Spec, block: tuple[int, int], x: Inputs, places: Places):
    out, log_norm = _forward(spec, block, x, places)
    return out, (x, places, out, log_norm)


def _attend_bwd(spec: Spec, block: tuple[int, int], residuals, grad_out):
    x, places, out, log_norm = residuals
    first, end = _visibility.needed_blocks(spec.rule, places.query, places.key, *block)
    # What each query's gradients of its logits have in common: sum_s weight * grad.
    shared = jnp.sum(
        grad_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1, keepdims=True
    )
    cut = _visibility.block_of

    def row(sums, i: ScalarInt):
        grad_row = cut(grad_out, i, block[0], 3)
        shared_row = cut(shared, i, block[0], 3)
        norm_row = cut(log_norm, i, block[0], 3)[..., None]

        def column(j: ScalarInt, carry):
            grad_query, sums = carry
            here, there = _pair(block, x, places, i, j)
            grads = _block_grads(spec, here, there, grad_row, shared_row, norm_row)
            grad_key = _added(sums.key, grads.key, (j,), (block[1],), (2,))
            grad_value = _added(sums.value, grads.value, (j,), (block[1],), (2,))
            grad_bias = sums.bias
            if grad_bias is not None and grads.bias is not None:
                grad_bias = _added(grad_bias, grads.bias, (i, j), block, (3, 4))
            sums = sums._replace(key=grad_key, value=grad_value, bias=grad_bias)
            return grad_query + grads.query, sums

        start = jnp.zeros((*x.query.shape[:3], block[0], x.query.shape[4]))
        start = start.astype(jnp.float32)
        grad_query, sums = jax.lax.fori_loop(first[i], end[i], column, (start, sums))
        return sums, grad_query.astype(x.query.dtype)

    zeros = Inputs(
        query=None,
        key=jnp.zeros(x.key.shape, jnp.float32),
        value=jnp.zeros(x.value.shape, jnp.float32),
        bias=None if x.bias is None else jnp.zeros(x.bias.shape, jnp.float32),
    )
    num_rows = x.query.shape[3] // block[0]
    sums, grad_query = jax.lax.scan(row, zeros, jnp.arange(num_rows))
    sums = sums._replace(query=_joined(grad_query))
    grads = jax.tree.map(lambda grad, like: grad.astype(like.dtype), sums, x)
    return grads, None


def _block_grads(
    spec: Spec,
    x: Inputs,
    places: Places,
    grad_out: Float["b k g t v"],
    shared: Float["b k g t 1"],
    log_norm: Float["b k g t 1"],
) -> Inputs:
    """Returns what one pair of blocks adds to the gradients, in f32."""
    capped = _products(spec, x)
    slope = None
    if spec.softcap is not None:
        ratio = jnp.tanh(capped / spec.softcap)
        capped, slope = spec.softcap * ratio, 1 - ratio**2
    weights = jnp.exp(_biased(spec, capped, x, places) - log_norm)
    f32 = {"preferred_element_type": jnp.float32}
    grad_value = jnp.einsum(
        "bkgts,bkgtv->bksv", weights.astype(grad_out.dtype), grad_out, **f32
    )
    grad_weights = jnp.einsum("bkgtv,bksv->bkgts", grad_out, x.value, **f32)
    grad_logits = weights * (grad_weights - shared)
    grad_bias = None
    if x.bias is not None:
        axes = tuple(a for a in range(5) if x.bias.shape[a] == 1)
        grad_bias = grad_logits.sum(axis=axes, keepdims=True)
    if slope is not None:
        grad_logits = grad_logits * slope
    grad_logits = (grad_logits * spec.scale).astype(x.query.dtype)
    return Inputs(
        query=jnp.einsum("bkgts,bksh->bkgth", grad_logits, x.key, **f32),
        key=jnp.einsum("bkgts,bkgth->bksh", grad_logits, x.query, **f32),
        value=grad_value,
        bias=grad_bias,
    )


def _added(
    whole: Float["*any"],
    part: Float["*any"],
    indices: tuple[ScalarInt, ...],
    sizes: tuple[int, ...],
    axes: tuple[int, ...],
) -> Float["*any"]:
    """Adds one block to the whole; an axis of one takes all blocks."""
    start = [0] * whole.ndim
    for index, size, axis in zip(indices, sizes, axes, strict=True):
        if whole.shape[axis] != 1:
            start[axis] = index * size
    old = jax.lax.dynamic_slice(whole, start, part.shape)
    return jax.lax.dynamic_update_slice(whole, old + part, start)


attend.defvjp(_attend_fwd, _attend_bwd)
