"""Contiguous caches: what is kept, where, and what does not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.attention import numpy_attention

_SPEC = kd.nn.CacheSpec({"key": (2,)}, None)


@jax.jit
def _append(cache, entries, positions):
    return cache.append(entries, positions)


def _appended(num_slots, *positions, window=None):
    spec = _SPEC._replace(window=window)
    cache = kd.nn.ContiguousCache.empty(spec, batch_size=1, num_slots=num_slots)
    for some in positions:
        x = np.asarray(some, np.float32)[None, :, None] * np.ones((1, 1, 2), np.float32)
        cache = _append(cache, {"key": x}, np.asarray([some], np.int32))
    entries, kept = cache.view()
    np.testing.assert_array_equal(entries["key"][0, :, 0], np.maximum(kept[0], 0))
    return kept[0].tolist()


def test_a_token_stands_in_the_slot_of_its_position():
    assert _appended(5, [0, 1], [2]) == [0, 1, 2, -1, -1]


def test_a_token_of_position_minus_one_is_not_kept():
    assert _appended(4, [-1, 0, 1], [-1]) == [0, 1, -1, -1]


def test_the_oldest_tokens_give_way():
    assert _appended(3, [0, 1, 2], [3, 4], window=2) == [3, 4, 2]


def _attended(num_slots, window, *chunks):
    """Returns attention of the tokens of positions 0, 1, ..., so many at once."""
    spec = kd.nn.CacheSpec({"key": (1, 2), "value": (1, 2)}, window)
    total = sum(chunks)
    x = np.random.default_rng(0).standard_normal((2, total, 1, 2), dtype=np.float32)
    # The second row is empty all the time.
    positions = np.stack([np.arange(total), np.full(total, -1)]).astype(np.int32)

    @jax.jit
    def step(cache, x, positions):
        cache = cache.append({"key": x, "value": x}, positions)
        entries, key_positions = cache.view()
        out = kd.nn.dot_product_attention(
            x,
            **entries,
            is_causal=True,
            window=window,
            query_positions=positions,
            key_positions=key_positions,
        )
        return cache, out

    cache = kd.nn.ContiguousCache.empty(spec, batch_size=2, num_slots=num_slots)
    outs, start = [], 0
    for size in chunks:
        part = slice(start, start + size)
        cache, out = step(cache, x[:, part], positions[:, part])
        outs.append(out)
        start += size
    whole, _ = numpy_attention.attention(
        x, x, x, np.zeros_like(x), is_causal=True, window=window
    )
    out = np.concatenate(outs, axis=1)
    np.testing.assert_array_equal(out[1], 0)
    is_known = ~np.isnan(out[0]).any(axis=(1, 2))
    np.testing.assert_allclose(out[0, is_known], whole[0, is_known], atol=1e-6)
    return is_known.tolist()


def test_attention_is_nan_once_tokens_it_needs_are_forgotten():
    assert _attended(4, None, 3, 3) == [True] * 3 + [False] * 3


def test_attention_is_known_while_a_ring_has_what_the_window_needs():
    assert _attended(4, 3, 2, 2, 2) == [True] * 6


def test_attention_is_nan_where_a_ring_is_shorter_than_its_window_needs():
    # The fourth and fifth token overwrite the first two; the fourth still needs one.
    assert _attended(3, 3, 3, 2) == [True] * 3 + [False] * 2


def test_a_cache_that_is_too_short_is_told_before_compiling():
    with pytest.raises(ValueError, match="3 tokens don't fit into 2 slots"):
        jax.eval_shape(lambda: _appended(2, [0, 1, 2]))


def test_other_entries_than_the_layer_said_are_told():
    cache = kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=2)
    with pytest.raises(ValueError, match=r"1 rows of \['key'\]: got 1 rows of \['k'\]"):
        cache.append({"k": jnp.zeros((1, 1, 2))}, jnp.zeros((1, 1), jnp.int32))


def test_entries_of_another_shape_are_told_and_not_repeated():
    cache = kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=2)
    with pytest.raises(
        ValueError, match=r"`key` in the shape \(1, 1, 2\).*\(1, 1, 1\)"
    ):
        cache.append({"key": jnp.zeros((1, 1, 1))}, jnp.zeros((1, 1), jnp.int32))


def test_a_cache_of_integers_is_told():
    with pytest.raises(ValueError, match=r"must be a float: got .*int8"):
        kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=2, dtype=jnp.int8)


def test_a_cache_without_slots_is_told():
    with pytest.raises(ValueError, match=r"num_slots.*got 0"):
        kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=0)
