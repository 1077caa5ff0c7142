"""One copy of the blocks for all layers says what a copy for each of them says."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _forward, _kernels, _layers, _paged_cache
from tests.modules.language import families, test_families

_TABLES = np.array([[1, 3, 5], [0, 6, 2]], np.int32)


def _weights(model, params, *, owns_params):
    others, kernels = _kernels.taken_out(
        model, params, turns=owns_params, owns_params=owns_params
    )
    return _forward.Weights(others, kernels, {})


def _inputs(model, *, is_one):
    pool = _paged_cache.make_pool(model, num_pages=7, page_size=4, is_one=is_one)
    positions = np.broadcast_to(np.arange(12, dtype=np.int32), (2, 12))
    cache = _paged_cache.with_rows(pool, _TABLES)
    return families.TOKENS, positions, cache, np.zeros(2, np.int32)


def _logits(model, weights, *, is_one):
    """Returns the logits of a prompt that is read in two parts, by one program."""
    tokens, positions, cache, rows = _inputs(model, is_one=is_one)
    run = jax.jit(_forward.run, static_argnums=0)
    found = []
    for part in (slice(0, 6), slice(6, None)):
        at = tokens[:, part], positions[:, part], cache, rows
        result = run(model, weights, *at)
        cache = result.cache
        found.append(result.logits)
    return np.concatenate(found, axis=1)


# Windows in turn, biases, norms of heads, experts (which are small here), latents.
_OPTIONS = {
    "gemma2": {},
    "gpt2": {},
    "qwen3": {},
    "mixtral": {},
    "deepseek_v2": {"num_dense_layers": 0},
}


@functools.cache
def _expected(name):
    """Returns a model, its parameters and its logits."""
    model = test_families.make(name, num_layers=4, **_OPTIONS[name])
    params = test_families.params_of(model)["params"]
    logits = jax.jit(model.apply)({"params": params}, families.TOKENS)["logits"]
    return model, params, logits


@pytest.mark.parametrize("owns_params", [True, False])
@pytest.mark.parametrize("name", _OPTIONS)
def test_logits_of_one_copy_are_those_of_the_model(name, owns_params, quick_compile):
    model, params, expected = _expected(name)
    assert _layers.have_one_copy(model, params)
    weights = _weights(model, jax.tree.map(jnp.array, params), owns_params=owns_params)
    found = _logits(model, weights, is_one=True)
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_small_weights_in_one_copy_give_the_logits_of_copies(dtype, quick_compile):
    model = test_families.make("gemma2", num_layers=4)
    params = test_families.params_of(model)["params"]
    if dtype == "int8":
        names = kd.nn.logical_axes(model, families.TOKENS)["params"]
        params = kd.lm.quantize(params, names)
    else:
        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    weights = _weights(model, params, owns_params=False)
    one, each = (_logits(model, weights, is_one=some) for some in (True, False))
    # A value that is rounded to the next step of eight bits makes more.
    np.testing.assert_allclose(one, each, atol=0.02 * np.abs(each).max())
    assert np.median(np.abs(one - each)) < 1e-3 * np.abs(each).max()


def test_a_program_has_the_norms_of_one_block_however_many_layers_there_are():
    def number(num_layers, is_one):
        model = test_families.make("llama", num_layers=num_layers)
        params = test_families.params_of(model)["params"]
        weights = _weights(model, params, owns_params=False)
        lowered = jax.jit(_forward.run, static_argnums=0).lower(
            model, weights, *_inputs(model, is_one=is_one)
        )
        return len(re.findall(r"= (?:stablehlo|chlo)\.rsqrt", lowered.as_text()))

    # Two norms in each block, one before the head.
    assert [number(n, is_one=True) for n in (4, 8)] == [3, 3]
    assert [number(n, is_one=False) for n in (4, 8)] == [9, 17]


def _with_changed(params, layer, change):
    return params | {layer: jax.tree.map(change, params[layer])}


def test_layers_that_are_not_alike_have_copies_of_their_own():
    model = test_families.make("gemma2", num_layers=4)
    params = test_families.params_of(model)["params"]
    assert _layers.have_one_copy(model, params)
    small = _with_changed(params, "layer_2", lambda x: x.astype(jnp.bfloat16))
    assert not _layers.have_one_copy(model, small)
    for name, options in {
        "three layers of two kinds": {"num_layers": 3},
        "two layers of two kinds": {"num_layers": 2},
    }.items():
        other = test_families.make("gemma2", **options)
        params = test_families.params_of(other)["params"]
        assert not _layers.have_one_copy(other, params), name
    first = test_families.make("deepseek_v3", num_layers=4)
    params = test_families.params_of(first)["params"]
    assert first.first_blocks
    assert not _layers.have_one_copy(first, params)


def test_large_weights_that_would_be_copied_in_each_step_have_copies_of_the_block():
    model = test_families.make("mixtral", num_layers=2, features=1024)
    shapes = jax.eval_shape(model.init, jax.random.key(0), families.TOKENS)["params"]
    assert not _layers.have_one_copy(model, shapes)
