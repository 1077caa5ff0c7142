"""Which tokens may follow, and the draw of one of them: per row, in f32.

Nothing is sorted. The tokens that a cut leaves are those from the largest key on, until
their weights reach a target: the key at which this happens is found bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kauldron.ktyping import Bool, Float, Int, UInt32

_PART = 256


class Cuts(NamedTuple):
    """How the distribution of the next token is changed, of each row or of all.

    Attributes:
      temperature: Divides the logits; > 0.
      top_k: How many tokens may follow; the vocabulary's size or more is all.
      top_p: Probability that the tokens that may follow have together; 1 is all.
      min_p: The least probability of a token, as a share of the likeliest one's.
      typical_p: Probability that the most typical tokens have together; 1 is all.
    """

    temperature: Float["*b"]
    top_k: Int["*b"]
    top_p: Float["*b"]
    min_p: Float["*b"]
    typical_p: Float["*b"]


def cut_logits(logits: Float["b v"], cuts: Cuts) -> Float["b v"]:
    """Returns logits of the tokens that may follow, in f32; of others `-inf`.

    First the logits are divided by the temperature, then the `top_k` most likely are
    kept; of these, with their probabilities made to sum to 1, the most likely until they
    have `top_p` together, the one that reaches it included; of these, those of `min_p`
    at least; of these, the ones whose surprise is nearest to the mean surprise, until
    they have `typical_p` together. One is always left. Of equally likely tokens, the
    first come first.

    Args:
      logits: Of each row; `-inf` never follows.
      cuts: Values of each row, or scalars for all.

    Reference: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration,
    arXiv:1904.09751 (nucleus sampling); Meister et al. 2023, Locally Typical Sampling,
    arXiv:2202.00666.
    """
    logits = logits.astype(jnp.float32) / cuts.temperature[..., None]

    def where_needed(
        is_needed: Bool["*b"],
        keep: Callable[[Float["b v"]], Bool["b v"]],
        logits: Float["b v"],
    ) -> Float["b v"]:
        def cut(logits: Float["b v"]) -> Float["b v"]:
            is_kept = keep(logits) | ~is_needed[..., None]
            return jnp.where(is_kept, logits, -jnp.inf)

        return jax.lax.cond(jnp.any(is_needed), cut, lambda logits: logits, logits)

    def top_k(logits: Float["b v"]) -> Bool["b v"]:
        return _until(logits, jnp.ones_like(logits), cuts.top_k.astype(jnp.float32))

    def top_p(logits: Float["b v"]) -> Bool["b v"]:
        return _until(logits, jax.nn.softmax(logits, axis=-1), cuts.top_p)

    def min_p(logits: Float["b v"]) -> Bool["b v"]:
        likeliest = jnp.max(logits, axis=-1, keepdims=True)
        return logits >= likeliest + jnp.log(cuts.min_p)[..., None]

    def typical(logits: Float["b v"]) -> Bool["b v"]:
        logprobs = jax.nn.log_softmax(logits, axis=-1)
        probs = jnp.exp(logprobs)
        # What cannot follow has no surprise, and is never typical.
        surprise = -jnp.where(probs > 0, logprobs, 0.0)
        mean = jnp.sum(probs * surprise, axis=-1, keepdims=True)
        keys = jnp.where(probs > 0, -jnp.abs(surprise - mean), -jnp.inf)
        return _until(keys, probs, cuts.typical_p)

    logits = where_needed(cuts.top_k < logits.shape[-1], top_k, logits)
    logits = where_needed(cuts.top_p < 1, top_p, logits)
    logits = where_needed(cuts.min_p > 0, min_p, logits)
    return where_needed(cuts.typical_p < 1, typical, logits)


def _until(
    keys: Float["b v"], weights: Float["b v"], target: Float["*b"]
) -> Bool["b v"]:
    """Returns the largest keys until their weights reach the target.

    The one that reaches it is included; of equal keys, the first come first, and the very
    first is always there.
    """
    code = _ordered(keys)
    target = target[..., None]

    def mass(is_in: Bool["b v"]) -> Float["b 1"]:
        return jnp.sum(weights, axis=-1, keepdims=True, where=is_in)

    # The least code of which the weights above are less than the target.
    least = _descend(
        32, code.shape[:1], lambda bound: ~(mass(code > bound) < target)
    ).astype(jnp.uint32)
    is_tied = code == least
    above = mass(code > least)
    # Of these, the first ones: the last index before which the weights are less.
    index = jnp.arange(keys.shape[-1], dtype=jnp.uint32)
    num_bits = max(keys.shape[-1] - 1, 1).bit_length()
    last = _descend(
        num_bits,
        code.shape[:1],
        lambda bound: above + mass(is_tied & (index <= bound)) < target,
    )
    is_first = index == likeliest_tokens(keys)[..., None]
    return (code > least) | (is_tied & (index <= last)) | is_first


def _descend(
    num_bits: int,
    lead: tuple[int, ...],
    is_too_small: Callable[[UInt32["b 1"]], Bool["b 1"]],
) -> UInt32["b 1"]:
    """Returns the least number of so many bits that is not too small, else the largest."""

    def set_bit(i: Int[""], found: UInt32["b 1"]) -> UInt32["b 1"]:
        bit = jnp.uint32(1) << jnp.uint32(num_bits - 1 - i)
        return jnp.where(is_too_small(found | (bit - 1)), found | bit, found)

    return jax.lax.fori_loop(0, num_bits, set_bit, jnp.zeros((*lead, 1), jnp.uint32))


def _ordered(keys: Float["b v"]) -> UInt32["b v"]:
    """Returns numbers in the same order; both zeros are one."""
    bits = jax.lax.bitcast_convert_type(jnp.where(keys == 0, 0.0, keys), jnp.uint32)
    sign = jnp.uint32(1) << 31
    return jnp.where(bits >= sign, ~bits, bits | sign)


def likeliest_tokens(logits: Float["*b v"]) -> Int["*b"]:
    """Returns the token of each row with the largest logit, the first of several, `i32`.

    On a CPU, XLA finds the largest number of a row far faster than its place: the place is
    looked for in the part of the row only that has it.
    """
    width = math.gcd(logits.shape[-1], _PART)
    parts = logits.reshape(*logits.shape[:-1], -1, width)
    part = jnp.argmax(jnp.max(parts, axis=-1), axis=-1)
    own = jnp.take_along_axis(parts, part[..., None, None], axis=-2)[..., 0, :]
    return (part * width + jnp.argmax(own, axis=-1)).astype(jnp.int32)


def draw_tokens(
    logits: Float["b v"], seeds: UInt32["*b"], index: Int["*b"]
) -> Int["*b"]:
    """Returns a token for each row, drawn from `softmax(logits)`.

    The draw is a function of the logits, the seed and the index alone: a row draws the
    same whatever the others are.

    Args:
      logits: In f32: noise of fewer bits is far from that of the distribution.
      seeds: Of each row.
      index: How many tokens each row has drawn before, or one number for all.
    """

    def draw(logits: Float["*v"], seed: UInt32[""], index: Int[""]) -> Int[""]:
        rng = jax.random.fold_in(jax.random.key(seed), index)
        return jax.random.categorical(rng, logits)

    index = jnp.broadcast_to(index, seeds.shape)
    drawn = jax.vmap(draw)(logits.astype(jnp.float32), seeds, index)
    return drawn.astype(jnp.int32)
