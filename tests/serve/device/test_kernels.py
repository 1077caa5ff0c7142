"""Kernels that are kept for decoding, in floats and in eight bits, say the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.serve.device import _forward, _kernels
from tests.modules.language import families, test_families


def _run(model, params, *, owns_params):
    others, kernels = _kernels.taken_out(
        model, params, turns=owns_params, owns_params=owns_params
    )
    assert bool(kernels) == (owns_params or "int8" in str(jax.tree.structure(params)))
    cache = model.init_cache(
        lambda spec: kd.nn.ContiguousCache.empty(spec, batch_size=2, num_slots=12)
    )
    tokens = families.TOKENS
    positions = np.broadcast_to(np.arange(12, dtype=np.int32), (2, 12))
    weights = _forward.Weights(others, kernels, {})
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


def test_weights_in_eight_bits_give_the_logits_of_their_rounded_values(quick_compile):
    model = test_families.make("gemma2")
    params = test_families.params_of(model)["params"]
    names = kd.nn.logical_axes(model, families.TOKENS)["params"]
    small = kd.lm.quantize(params, names)
    rounded = kd.lm.dequantize(small, jnp.float32)
    expected = jax.jit(model.apply)({"params": rounded}, families.TOKENS)["logits"]
    found = _run(model, small, owns_params=False)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
