"""Contiguous caches: what is kept, where, and what does not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd

_SPEC = kd.nn.CacheSpec({"key": (2,)}, None)


def _appended(num_slots, *positions):
    cache = kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=num_slots)
    for some in positions:
        x = jnp.asarray(some, jnp.float32)[None, :, None] * jnp.ones((1, 1, 2))
        cache = cache.append({"key": x}, jnp.asarray([some], jnp.int32))
    entries, kept = cache.view()
    np.testing.assert_array_equal(entries["key"][0, :, 0], np.maximum(kept[0], 0))
    return kept[0].tolist()


def test_a_token_stands_in_the_slot_of_its_position():
    assert _appended(5, [0, 1], [2]) == [0, 1, 2, -1, -1]


def test_a_token_of_position_minus_one_is_not_kept():
    assert _appended(4, [-1, 0, 1], [-1]) == [0, 1, -1, -1]


def test_the_oldest_tokens_give_way():
    assert _appended(3, [0, 1, 2], [3, 4]) == [3, 4, 2]


def test_a_cache_that_is_too_short_is_told_before_compiling():
    with pytest.raises(ValueError, match="3 tokens don't fit into 2 slots"):
        jax.eval_shape(lambda: _appended(2, [0, 1, 2]))


def test_other_entries_than_the_layer_said_are_told():
    cache = kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=2)
    with pytest.raises(ValueError, match=r"1 rows of \['key'\]: got 1 rows of \['k'\]"):
        cache.append({"k": jnp.zeros((1, 1, 2))}, jnp.zeros((1, 1), jnp.int32))


def test_a_cache_without_slots_is_told():
    with pytest.raises(ValueError, match=r"num_slots.*got 0"):
        kd.nn.ContiguousCache.empty(_SPEC, batch_size=1, num_slots=0)
