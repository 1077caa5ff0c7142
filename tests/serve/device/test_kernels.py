"""Kernels that are kept for decoding, in floats and in eight bits, say the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _forward, _kernels
from tests.modules.language import families, test_families


def _run(model, params, *, owns_params, rounds=False):
    others, kernels = _kernels.taken_out(
        model, params, turns=owns_params, owns_params=owns_params
    )
    assert bool(kernels) == (owns_params or "int8" in str(jax.tree.structure(params)))
    cache = model.init_cache(
        lambda spec: kd.nn.ContiguousCache.empty(spec, batch_size=2, num_slots=12)
    )
    tokens = families.TOKENS
    positions = np.broadcast_to(np.arange(12, dtype=np.int32), (2, 12))
    weights = _forward.Weights(others, kernels, {}, rounds)
    adapters = np.zeros(2, np.int32)
    run = jax.jit(_forward.run, static_argnums=0)
    return run(model, weights, tokens, positions, cache, adapters).logits


# Gates, biases, untied heads and soft-caps are in one or the other.
@pytest.mark.parametrize("name", ["gemma2", "gpt2"])
def test_logits_with_kernels_taken_out_are_those_of_the_model(name, quick_compile):
    model = test_families.make(name)
    params = test_families.params_of(model)["params"]
    expected = jax.jit(model.apply)({"params": params}, families.TOKENS)["logits"]
    own = jax.tree.map(jnp.array, params)
    found = _run(model, own, owns_params=True)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    num_deleted = sum(x.is_deleted() for x in jax.tree.leaves(own))
    assert 0 < num_deleted < len(jax.tree.leaves(own))


def test_weights_in_eight_bits_give_nearly_the_logits_of_their_rounded_values(
    quick_compile,
):
    model = test_families.make("gemma2")
    params = test_families.params_of(model)["params"]
    names = kd.nn.logical_axes(model, families.TOKENS)["params"]
    small = kd.lm.quantize(params, names)
    rounded = kd.lm.dequantize(small, jnp.float32)
    expected = jax.jit(model.apply)({"params": rounded}, families.TOKENS)["logits"]
    found = _run(model, small, owns_params=False)
    # Inputs are rounded too: to 1 / 254 of the largest of a row.
    assert np.std(found - expected) < 0.03 * np.std(expected)


def _random(rows, inputs, outputs):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, inputs)), rng.normal(size=(outputs, inputs))


@pytest.mark.parametrize("rows", [1, 5, 70])
def test_a_product_in_eight_bits_is_as_far_off_as_its_inputs_are_rounded(rows):
    x, kernel = _random(rows, 48, 24)
    x[0] = 0  # has no largest
    x[1:] *= 10.0 ** np.arange(rows - 1)[:, None].clip(max=20)
    steps = np.round(kernel / np.abs(kernel).max() * 127).astype(np.int8)
    scale = np.linspace(0.5, 2, 24, dtype=np.float32)
    x = x.astype(np.float32)
    product = jax.jit(_kernels.product_of_int8)
    found = np.asarray(product(x, [steps], scale), np.float64)
    exact = (x.astype(np.float64) @ steps.T.astype(np.float64)) * scale
    # Half of a step of each input.
    half = np.abs(x).max(axis=1, keepdims=True) / 254
    bound = half * np.abs(steps.astype(np.float64)).sum(axis=1) * scale
    assert (np.abs(found - exact) <= 1.001 * bound).all()
    assert np.abs(found - exact).max() > 0 or rows == 1


@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize(("dtype", "sums"), [("bfloat16", "f32"), ("int8", "s32")])
def test_a_product_of_small_numbers_never_keeps_wide_copies_of_the_kernel(
    rows, dtype, sums
):
    x, kernel = (jnp.asarray(10 * some, dtype) for some in _random(rows, 48, 24))
    out = {"f32": jnp.float32, "s32": jnp.int32}[sums]
    run = jax.jit(lambda x, kernel: _kernels.product(x, [kernel], out))
    text = run.lower(x, kernel).compile().as_text()
    if rows > 1:  # a single row is multiplied in a loop, which widens as it goes
        assert f"{sums}[24,48]" not in text
        assert f"{sums}[48,24]" not in text
    wide = [np.asarray(some).astype(np.float64) for some in (x, kernel)]
    np.testing.assert_allclose(
        run(x, kernel), wide[0] @ wide[1].T, rtol=1e-5, atol=1e-3
    )


def _narrow(params):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), params)


def test_inputs_that_are_rounded_alone_are_nearer_than_all_in_sixteen_bits(
    quick_compile,
):
    model = test_families.make("gpt2")
    small = _narrow(test_families.params_of(model)["params"])
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), small)
    expected = jax.jit(model.apply)({"params": rounded}, families.TOKENS)["logits"]
    all_narrow = jax.jit(model.apply)({"params": small}, families.TOKENS)["logits"]
    wide = model.clone(dtype=jnp.float32)
    found = _run(wide, small, owns_params=True, rounds=True)
    off = np.std(found - expected)
    # Of a number of eight bits, 1 / 512 is lost at most, and a third of that as a rule.
    assert 0 < off < 0.01 * np.std(expected)
    assert off < 0.7 * np.std(all_narrow - expected)


def test_a_table_in_sixteen_bits_is_not_made_wide_before_a_loop_of_steps():
    model = test_families.make("gpt2", vocab_size=20_000).clone(dtype=jnp.float32)
    params = jax.eval_shape(
        lambda: _narrow(model.init(jax.random.key(0), families.TOKENS)["params"])
    )
    cache = model.init_cache(
        lambda spec: kd.nn.ContiguousCache.empty(spec, batch_size=2, num_slots=12)
    )

    def run(params, cache, tokens):
        weights = _forward.Weights(params, {}, {}, rounds=True)

        def step(i, carry):
            tokens, cache = carry
            places, nobody = jnp.full((2, 1), i), jnp.zeros(2, jnp.int32)
            found = _forward.run(model, weights, tokens, places, cache, nobody)
            return jnp.argmax(found.logits, axis=-1).astype(jnp.int32), found.cache

        return jax.lax.fori_loop(0, 5, step, (tokens, cache))[0]

    tokens = jnp.zeros((2, 1), jnp.int32)
    compiled = jax.jit(run).lower(params, cache, tokens).compile()
    wide = 4 * params["embedding"].size
    assert compiled.memory_analysis().temp_size_in_bytes < wide / 2


def test_weights_in_sixteen_bits_give_nearly_the_logits_of_all_bits(quick_compile):
    model = test_families.make("gpt2")
    params = test_families.params_of(model)["params"]
    small = _narrow(params)
    expected = jax.jit(model.apply)({"params": params}, families.TOKENS)["logits"]
    found = _run(model, small, owns_params=True)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def test_maps_of_one_input_have_one_kernel_but_in_eight_bits():
    model = test_families.make("llama")
    params = test_families.params_of(model)["params"]
    names = kd.nn.logical_axes(model, families.TOKENS)["params"]
    small = kd.lm.quantize(params, names)

    def kept(params, turns):
        _, kernels = _kernels.taken_out(model, params, turns=turns, owns_params=False)
        keys = [key for key in kernels if key.startswith("layer_0.")]
        return sorted(key.replace("layer_0.", "") for key in keys), kernels

    attention = [f"attention.{name}" for name in ("query", "key", "value")]
    feed_forward = [f"feed_forward.{name}" for name in ("up", "gate")]
    found, kernels = kept(params, turns=True)
    joined = ["+".join(some) for some in (attention, feed_forward)]
    assert found == sorted([*joined, "attention.out", "feed_forward.down"])
    key = "+".join(f"layer_0.{name}" for name in feed_forward)
    up, gate = (params["layer_0"]["feed_forward"][x]["kernel"] for x in ("up", "gate"))
    np.testing.assert_array_equal(kernels[key], np.concatenate([up, gate], axis=1).T)
    alone = [*attention, *feed_forward, "attention.out", "feed_forward.down"]
    assert kept(small, turns=True)[0] == sorted(alone)
    assert kept(params, turns=False)[0] == []
    # Of a group in which some are small.
    small["layer_0"]["attention"]["key"] = params["layer_0"]["attention"]["key"]
    found, _ = kept(small, turns=False)
    assert found == sorted(set(alone) - {"attention.key"})
