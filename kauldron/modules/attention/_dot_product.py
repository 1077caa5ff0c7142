"""The one attention function: what is asked for, and which way it is computed."""

from __future__ import annotations

import math
import numbers
import typing
from typing import Literal

import einops
import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Bool, Float, Int, typechecked
from kauldron.modules.attention import _blocks, _recording, _visibility

# Queries and keys of a block: 2 MB of f32 logits for 8 heads, about a core's cache.
_BLOCK = (256, 256)
# Fewer logits than this per head are computed at once.
_SMALL = 1024 * 1024
_CUDNN_MAX_HEAD_DIM = 128

Implementation = Literal["plain", "blocks", "cudnn"]


@typechecked
def dot_product_attention(
    query: Float["*b t n h"],
    key: Float["*b s k h"],
    value: Float["*b s k v"],
    *,
    bias: Float["*bias"] | None = None,
    mask: Bool["*mask"] | None = None,
    is_causal: bool = False,
    window: int | None = None,
    query_positions: Int["*b t"] | None = None,
    key_positions: Int["*b s"] | None = None,
    query_segment_ids: Int["*b t"] | None = None,
    key_segment_ids: Int["*b s"] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    implementation: Implementation | None = None,
) -> Float["*b t n v"]:
    """Mixes values by the softmax of how well queries and keys agree.

    `softmax(softcap * tanh(scale * query @ key / softcap) + bias) @ value` over the keys
    that a query sees, in f32 whatever the inputs are. A query that sees no key gives
    zeros, and gradients of zero. Query head `i` reads key head `i // (n // k)`.

    Memory grows with `t + s`, not with `t * s`, from about a thousand tokens on.

    Args:
      query: Queries of `n` heads.
      key: Keys of `k` heads; `n` is a multiple of `k`.
      value: Values of `k` heads; `v` may differ from `h`.
      bias: Added to the logits, after scale and soft-cap; broadcasts to `*b n t s`.
      mask: True where a query may see a key; broadcasts to `*b n t s`.
      is_causal: A query sees no key of a later position.
      window: A query sees keys less than so many positions away.
      query_positions: Positions that `is_causal` and `window` compare; by default
        `0 ... t - 1`.
      key_positions: Same of the keys, by default `0 ... s - 1`. Nobody sees a key of a
        negative position: an empty slot of a cache.
      query_segment_ids: Document of each query; it sees keys of the same document.
      key_segment_ids: Document of each key.
      scale: Factor of the products; by default `1 / sqrt(h)`.
      softcap: The logits stay within plus and minus this.
      implementation: `"plain"` has all logits in memory at once, and derivatives of any
        order and mode. `"blocks"` has one block of them, and gradients only. `"cudnn"`
        is `jax.nn.dot_product_attention` with flash attention on a GPU. By default
        cuDNN where it can do what is asked for, else blocks if there are many tokens.

    Raises:
      ValueError: If heads don't divide, an option is out of range, only one side has
        segment ids, or cuDNN is asked for what it cannot do.

    Reference: Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, GQA,
    arXiv:2305.13245.
    """
    _check_shapes(query, key, value)
    _check(window, softcap, query_segment_ids, key_segment_ids, implementation)
    *lead, t, n, h = query.shape
    s, k = key.shape[-3:-1]
    pairs = (*lead, n, t, s)
    places = _blocks.Places(
        query=_side(query_positions, query_segment_ids, t),
        key=_side(key_positions, key_segment_ids, s),
        mask=_table("mask", mask, pairs, k),
    )
    spec = _blocks.Spec(
        rule=_visibility.Rule(is_causal, window, key_positions is not None),
        scale=1 / math.sqrt(h) if scale is None else scale,
        softcap=softcap,
    )
    inputs = _blocks.Inputs(
        query=einops.rearrange(_flat(query, 3), "b t (k g) h -> b k g t h", k=k),
        key=einops.rearrange(_flat(key, 3), "b s k h -> b k s h"),
        value=einops.rearrange(_flat(value, 3), "b s k v -> b k s v"),
        bias=_table("bias", bias, pairs, k),
    )
    _recording.record(spec, inputs, places)
    has_positions = query_positions is not None or key_positions is not None
    refusal = _why_not_cudnn(spec, inputs, places, has_positions)
    if implementation == "cudnn" and refusal:
        raise ValueError(f"cuDNN cannot compute this attention: {refusal}.")
    if implementation == "cudnn" or (implementation is None and not refusal):
        out = _on_gpu(spec, inputs, places, may_be_elsewhere=implementation is None)
    else:
        out = _on_any_device(spec, inputs, places, implementation)
    out = einops.rearrange(out, "b k g t v -> b t (k g) v")
    return out.reshape(*lead, t, n, value.shape[-1])


def _check_shapes(query, key, value) -> None:
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "Queries and keys are multiplied, so their last axes must be equal: got "
            f"query {query.shape}, key {key.shape}."
        )
    if query.shape[:-3] != key.shape[:-3] or key.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            "Queries, keys and values must have the same leading axes, and each key its "
            f"value: got query {query.shape}, key {key.shape}, value {value.shape}."
        )
    num_heads, num_kv_heads = query.shape[-2], key.shape[-2]
    if num_kv_heads == 0 or num_heads % num_kv_heads:
        raise ValueError(
            "The query heads must divide evenly over the key heads: got "
            f"{num_heads} query heads, {num_kv_heads} key heads."
        )


def _check(window, softcap, query_segment_ids, key_segment_ids, implementation) -> None:
    names = typing.get_args(Implementation)
    if implementation is not None and implementation not in names:
        raise ValueError(
            f"`implementation` must be one of {', '.join(map(repr, names))}, or None for "
            f"the best that can do it: got {implementation!r}."
        )
    if window is not None and not isinstance(window, numbers.Integral):
        raise ValueError(
            f"`window` must be an integer, or None to see everything: got {window!r}."
        )
    if window is not None and window < 1:
        raise ValueError(
            f"`window` counts the key itself, so it must be >= 1: got {window}. "
            "Use `None` to see everything."
        )
    if softcap is not None and softcap <= 0:
        raise ValueError(f"`softcap` must be > 0 or None: got {softcap}.")
    if (query_segment_ids is None) != (key_segment_ids is None):
        missing = "query" if query_segment_ids is None else "key"
        raise ValueError(
            f"`{missing}_segment_ids` are missing: documents are told apart by the ids "
            "of both queries and keys. Pass both, or none."
        )


def _flat(x: Array["*any"], num_last: int) -> Array["*any"]:
    return x.reshape(math.prod(x.shape[:-num_last]), *x.shape[-num_last:])


def _side(
    positions: Int["*b n"] | None, segment_ids: Int["*b n"] | None, length: int
) -> _visibility.Side:
    if positions is None:
        positions = jnp.arange(length, dtype=jnp.int32)
    segments = None if segment_ids is None else _flat(segment_ids, 1)
    return _visibility.Side(_flat(positions, 1), segments)


def _table(
    name: str,
    table: Array["*any"] | None,
    pairs: tuple[int, ...],
    num_kv_heads: int,
) -> Array["*any"] | None:
    """Brings what broadcasts to `pairs`, `*b n t s`, into the shape `b k g t s`."""
    if table is None:
        return None
    shape = (1,) * (len(pairs) - table.ndim) + table.shape
    fits = len(shape) == len(pairs) and all(
        size in (1, whole) for size, whole in zip(shape, pairs, strict=True)
    )
    if not fits:
        raise ValueError(
            f"`{name}` must broadcast to `*b heads t s`, here {pairs}: got the shape "
            f"{table.shape}. Each axis must be 1 or the size given; leading axes may "
            "be missing."
        )
    table = table.reshape(shape)
    if any(size != 1 for size in shape[:-3]):
        table = jnp.broadcast_to(table, (*pairs[:-3], *shape[-3:]))
    table = _flat(table, 3)
    b, n, t, s = table.shape
    heads = (1, 1) if n == 1 else (num_kv_heads, n // num_kv_heads)
    return table.reshape(b, *heads, t, s)


def _on_any_device(
    spec: _blocks.Spec,
    x: _blocks.Inputs,
    places: _blocks.Places,
    implementation: Implementation | None,
) -> Float["b k g t v"]:
    t, s = x.query.shape[-2], x.key.shape[-2]
    is_large = t >= _BLOCK[0] and t * s > _SMALL
    if implementation == "blocks" or (implementation is None and is_large):
        return _in_blocks(spec, x, places)
    return _at_once(spec, x, places)


def _at_once(
    spec: _blocks.Spec, x: _blocks.Inputs, places: _blocks.Places
) -> Float["b k g t v"]:
    logits = _blocks.scores(spec, x, places)
    maximum = logits.max(axis=-1, keepdims=True, initial=-jnp.inf)
    weights = jnp.exp(logits - _blocks.finite(jax.lax.stop_gradient(maximum)))
    norm = weights.sum(axis=-1, keepdims=True)
    out = _blocks.mixed(weights, x.value) / jnp.where(norm == 0, 1.0, norm)
    return out.astype(x.query.dtype)


def _in_blocks(
    spec: _blocks.Spec, x: _blocks.Inputs, places: _blocks.Places
) -> Float["b k g t v"]:
    """Lengthens queries and keys to whole blocks; nobody sees the keys added."""
    t, s = x.query.shape[-2], x.key.shape[-2]
    block = (min(_BLOCK[0], max(t, 1)), min(_BLOCK[1], max(s, 1)))
    if s % block[1]:
        spec = spec._replace(rule=spec.rule._replace(has_empty_keys=True))

    def lengthened(a: Array["*any"] | None, axes: dict[int, int]):
        if a is None:
            return None
        width = [(0, 0)] * a.ndim
        for axis, size in axes.items():
            if a.shape[axis] != 1 or axis < 3:
                width[axis] = (0, -a.shape[axis] % size)
        return jnp.pad(a, width) if any(after for _, after in width) else a

    table = {3: block[0], 4: block[1]}
    inputs = _blocks.Inputs(
        query=lengthened(x.query, {3: block[0]}),
        key=lengthened(x.key, {2: block[1]}),
        value=lengthened(x.value, {2: block[1]}),
        bias=lengthened(x.bias, table),
    )
    longer = _blocks.Places(
        query=_visibility.padded(places.query, multiple=block[0], position=None),
        key=_visibility.padded(places.key, multiple=block[1], position=-1),
        mask=lengthened(places.mask, table),
    )
    out: jax.Array = _blocks.attend(spec, block, inputs, longer)
    return out[..., :t, :]


def _why_not_cudnn(
    spec: _blocks.Spec,
    x: _blocks.Inputs,
    places: _blocks.Places,
    has_positions: bool,
) -> str:
    """Returns the reason why `jax.nn` with cuDNN must not be asked; none is ''."""
    t, h = x.query.shape[-2:]
    s, v = x.value.shape[-2:]
    has_mask = places.mask is not None or places.query.segment_ids is not None
    dtypes = {x.query.dtype, x.key.dtype, x.value.dtype}
    reasons = {
        "there is no GPU": jax.default_backend() != "gpu",
        f"all inputs must be bf16 or all f16, not {sorted(map(str, dtypes))}": (
            dtypes not in ({jnp.dtype(jnp.bfloat16)}, {jnp.dtype(jnp.float16)})
        ),
        f"values must have the size of keys, not {v} and {h}": v != h,
        f"the head size must be a multiple of 8 up to {_CUDNN_MAX_HEAD_DIM}, not {h}": (
            h % 8 != 0 or h > _CUDNN_MAX_HEAD_DIM
        ),
        "it has no soft-cap": spec.softcap is not None,
        "a bias has no gradient there": x.bias is not None,
        "positions are those of the rows": has_positions,
        "causal queries must be as many as keys": spec.rule.is_causal and t != s,
        "a window must be causal": (
            spec.rule.window is not None and not spec.rule.is_causal
        ),
        "masked lengths must be even": has_mask and bool(t % 2 or s % 2),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _on_gpu(
    spec: _blocks.Spec,
    x: _blocks.Inputs,
    places: _blocks.Places,
    *,
    may_be_elsewhere: bool,
) -> Float["b k g t v"]:
    def flash(x: _blocks.Inputs, places: _blocks.Places) -> Float["b k g t v"]:
        return _flash(spec, x, places)

    def other(x: _blocks.Inputs, places: _blocks.Places) -> Float["b k g t v"]:
        return _on_any_device(spec, x, places, None)

    if not may_be_elsewhere:
        return flash(x, places)
    # A program made on a machine with a GPU may be meant for its CPU, too.
    return jax.lax.platform_dependent(x, places, cuda=flash, default=other)


def _flash(
    spec: _blocks.Spec, x: _blocks.Inputs, places: _blocks.Places
) -> Float["b k g t v"]:
    t, s = x.query.shape[-2], x.key.shape[-2]
    rule = _visibility.Rule(is_causal=False, window=None, has_empty_keys=False)
    sees = _visibility.visible(rule, places.query, places.key, places.mask)
    if sees is not None:
        b, k, g, *_ = sees.shape
        sees = jnp.broadcast_to(
            sees.reshape(b, k * g, *sees.shape[3:]), (b, k * g, t, s)
        )
    window = spec.rule.window
    out = jax.nn.dot_product_attention(
        einops.rearrange(x.query, "b k g t h -> b t (k g) h"),
        einops.rearrange(x.key, "b k s h -> b s k h"),
        einops.rearrange(x.value, "b k s v -> b s k v"),
        mask=sees,
        scale=spec.scale,
        is_causal=spec.rule.is_causal,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )
    out = einops.rearrange(out, "b t (k g) v -> b k g t v", k=x.key.shape[1])
    if sees is None:
        return out
    # cuDNN gives the mean of all values to a query that sees none.
    seen = _visibility.visible(spec.rule, places.query, places.key, places.mask)
    is_some = jnp.any(seen, axis=-1, keepdims=True)
    return jnp.where(is_some, out, jnp.zeros((), out.dtype))
