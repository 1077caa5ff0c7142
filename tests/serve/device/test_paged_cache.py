"""Pages keep what a contiguous cache keeps, of every family, and forget nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _paged_cache
from tests.modules.language import families, test_families

TABLES = np.array([[5, 2, 7, -1], [0, 6, 3, -1]], np.int32)
CHUNKS = (6, 1, 5)


def _pool(model, **options):
    return _paged_cache.make_pool(model, num_pages=8, page_size=4, **options)


def _logits(model, params, pool):
    """Returns the logits of all tokens, read in chunks."""

    @jax.jit
    def step(tokens, positions, pool):
        cache = _paged_cache.with_rows(pool, TABLES)
        outputs = model.apply(params, tokens, positions, cache=cache)
        return outputs["logits"], _paged_cache.without_rows(outputs["cache"])

    logits, start = [], 0
    for size in CHUNKS:
        part = slice(start, start + size)
        positions = np.tile(np.arange(start, start + size, dtype=np.int32), (2, 1))
        some, pool = step(families.TOKENS[:, part], positions, pool)
        logits.append(some)
        start += size
    return np.concatenate(logits, axis=1)


# Windows and soft-cap; the latent. In a scan, pages have an axis of layers.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gemma2", {}),
        ("gemma2", {"scan_layers": True}),
        pytest.param("deepseek_v3", {}, marks=pytest.mark.slow),
    ],
)
def test_tokens_read_through_pages_give_the_logits_of_the_whole_forward_pass(
    name, options, quick_compile
):
    model = test_families.make(name, **options)
    params = test_families.params_of(model)
    full = jax.jit(model.apply)(params, families.TOKENS)["logits"]
    # What another row has left in a page may be anything.
    dirty = jax.tree.map(
        lambda x: jnp.full_like(x, jnp.nan) if x.ndim > 3 else x, _pool(model)
    )
    found = _logits(model, params, dirty)
    np.testing.assert_allclose(found, full[:, :12], atol=2e-5 * np.abs(full).max())


_SPEC = kd.nn.CacheSpec({"key": (2, 3)}, window=None)


def _cache(**options):
    cache = _paged_cache.PagedCache.empty(_SPEC, num_pages=8, page_size=4, **options)
    return _paged_cache.with_rows(cache, TABLES)


def test_what_is_viewed_is_what_was_appended_at_its_positions():
    x = np.random.default_rng(0).normal(size=(2, 5, 2, 3)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [6, 7, 8, -1, -1]], np.int32)
    view = jax.jit(lambda cache, x: cache.append({"key": x}, positions).view())
    entries, at = jax.device_get(view(_cache(), x))
    assert at[0].tolist() == [0, 1, 2, 3, 4, *[-1] * 11]
    np.testing.assert_array_equal(entries["key"][0, :5], x[0])
    np.testing.assert_array_equal(entries["key"][1, 6:9], x[1, :3])
    # Before position 6 another call has to have written; nothing has.
    assert not np.any(entries["key"][1, :6])


def test_positions_without_a_page_and_beyond_the_table_are_not_kept():
    before = _cache()
    x = np.ones((2, 1, 2, 3), np.float32)
    for position in (12, 15, 16, 400):
        positions = np.full((2, 1), position, np.int32)
        after = before.append({"key": x}, positions)
        assert not np.any(after.pages["key"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_pages_are_kept_in_the_dtype_that_is_asked_for(dtype):
    x = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype(np.float32)
    cache = _cache(dtype=dtype).append({"key": x}, np.zeros((2, 1), np.int32))
    found = cache.view().entries["key"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[:, :1], x.astype(dtype))


def test_no_page_is_made_wide_to_write_to_narrow_ones():
    pool = _cache(dtype=jnp.bfloat16)
    x, positions = jnp.ones((2, 1, 2, 3)), jnp.zeros((2, 1), jnp.int32)
    run = jax.jit(lambda pool: pool.append({"key": x}, positions), donate_argnums=0)
    assert "f32[2,8,4,3]" not in run.lower(pool).compile().as_text()


def test_rows_of_one_call_see_each_other_in_pages_that_they_share():
    shared = _paged_cache.with_rows(_cache(), TABLES[:1].repeat(2, axis=0))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 2, 3)).astype(np.float32)
    query = rng.normal(size=(1, 6, 2, 3)).astype(np.float32)
    whole = kd.nn.dot_product_attention(query, x, x, is_causal=True)
    positions = np.arange(6, dtype=np.int32).reshape(2, 3)
    cache = shared.append({"key": x.reshape(2, 3, 2, 3)}, positions)
    found = cache.attend(
        jnp.asarray(query.reshape(2, 3, 2, 3)), positions, lambda e: (e["key"],) * 2
    )
    np.testing.assert_allclose(found.reshape(1, 6, 2, 3), whole, atol=1e-6)
