"""Which key a query sees: causal, window, documents, empty slots, explicit mask."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Array, Bool, Int, ScalarInt

_FAR = np.iinfo(np.int32).max


class Rule(NamedTuple):
    """What is known about visibility before running; see `dot_product_attention`."""

    is_causal: bool
    window: int | None
    has_empty_keys: bool


class Side(NamedTuple):
    """Where the queries, or the keys, stand: `b` is 1 if all rows are alike."""

    positions: Int["b n"]
    segment_ids: Int["b n"] | None


def visible(
    rule: Rule, query: Side, key: Side, mask: Bool["*any"] | None
) -> Bool["*any"] | None:
    """Returns what each query sees, broadcastable to `b k g t s`; `None` is all.

    Args:
      rule: What is known before running.
      query: Where the queries stand.
      key: Where the keys stand.
      mask: What is asked for on top, broadcastable to `b k g t s`.
    """
    rows = query.positions[:, None, None, :, None]
    columns = key.positions[:, None, None, None, :]
    terms = [] if mask is None else [mask]
    if rule.has_empty_keys:
        terms.append(columns >= 0)
    if rule.is_causal:
        terms.append(columns <= rows)
    if rule.window is not None:
        terms.append(rows - columns < rule.window)
        if not rule.is_causal:
            terms.append(columns - rows < rule.window)
    if query.segment_ids is not None and key.segment_ids is not None:
        terms.append(
            query.segment_ids[:, None, None, :, None]
            == key.segment_ids[:, None, None, None, :]
        )
    total = None
    for term in terms:
        total = term if total is None else total & term
    return total


def needed_blocks(
    rule: Rule, query: Side, key: Side, query_block: int, key_block: int
) -> tuple[Int["*rows"], Int["*rows"]]:
    """Returns the first block of keys that a block of queries needs, and the end.

    Never too few: a block is left out if no query of any row can see a key of it.

    Args:
      rule: What is known before running.
      query: Where the queries stand; their number is a multiple of `query_block`.
      key: Where the keys stand; their number is a multiple of `key_block`.
      query_block: Number of queries in a block.
      key_block: Number of keys in a block.
    """
    is_empty = key.positions < 0
    query_low, query_high = _ranges(query.positions, query_block)
    key_low, _ = _ranges(jnp.where(is_empty, _FAR, key.positions), key_block)
    _, key_high = _ranges(key.positions, key_block)
    rows = [x[:, :, None] for x in (query_low, query_high)]
    columns = [x[:, None, :] for x in (key_low, key_high)]
    needed = columns[1] >= 0
    if rule.is_causal:
        needed &= columns[0] <= rows[1]
    if rule.window is not None:
        needed &= rows[0] - columns[1] < rule.window
        if not rule.is_causal:
            needed &= columns[0] - rows[1] < rule.window
    if query.segment_ids is not None and key.segment_ids is not None:
        row_low, row_high = _ranges(query.segment_ids, query_block)
        low, high = _ranges(key.segment_ids, key_block)
        needed &= row_low[:, :, None] <= high[:, None, :]
        needed &= low[:, None, :] <= row_high[:, :, None]
    shape = (1, query_low.shape[1], key_low.shape[1])
    some = jnp.broadcast_to(needed, (needed.shape[0], *shape[1:])).any(axis=0)
    first = jnp.argmax(some, axis=1).astype(jnp.int32)
    end = shape[2] - jnp.argmax(some[:, ::-1], axis=1).astype(jnp.int32)
    return first, jnp.where(some.any(axis=1), end, first)


def _ranges(values: Int["b n"], block: int) -> tuple[Int["b m"], Int["b m"]]:
    blocks = values.reshape(values.shape[0], -1, block)
    return blocks.min(axis=-1), blocks.max(axis=-1)


def padded(side: Side, *, multiple: int, position: int | None) -> Side:
    """Lengthens a side to a multiple, with this position or else with its last one."""
    missing = -side.positions.shape[1] % multiple
    width = ((0, 0), (0, missing))
    if position is None:
        positions = jnp.pad(side.positions, width, mode="edge")
    else:
        positions = jnp.pad(side.positions, width, constant_values=position)
    segments = side.segment_ids
    if segments is not None:
        segments = jnp.pad(segments, width, mode="edge")
    return Side(positions, segments)


def block_of(x: Array["*any"], index: ScalarInt, size: int, axis: int) -> Array["*any"]:
    """Returns one block along an axis; an axis of one stands for all of them."""
    if x.shape[axis] == 1:
        return x
    return jax.lax.dynamic_slice_in_dim(x, index * size, size, axis)


def side_block(side: Side, index: ScalarInt, size: int) -> Side:
    """Returns one block of a side."""
    segments = side.segment_ids
    return Side(
        jax.lax.dynamic_slice_in_dim(side.positions, index * size, size, 1),
        None
        if segments is None
        else jax.lax.dynamic_slice_in_dim(segments, index * size, size, 1),
    )
