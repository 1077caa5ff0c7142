"""Decoding with a cache, packed rows and scanned layers change nothing of the numbers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.language import families, test_families

_POSITIONS = np.broadcast_to(np.arange(12, dtype=np.int32), (2, 12))


@functools.cache
def _step(model):
    return jax.jit(
        lambda params, tokens, positions, cache: model.apply(
            params, tokens, positions, cache=cache
        )
    )


def _generate(model, params, num_slots, chunks, positions=_POSITIONS):
    """Returns the logits of all tokens, given so many at once."""
    cache = model.init_cache(
        lambda spec: kd.nn.ContiguousCache.empty(
            spec, batch_size=2, num_slots=num_slots
        )
    )
    logits, start = [], 0
    for size in chunks:
        part = slice(start, start + size)
        outputs = _step(model)(
            params, families.TOKENS[:, part], positions[:, part], cache
        )
        logits.append(outputs["logits"])
        cache, start = outputs["cache"], start + size
    return np.concatenate(logits, axis=1), cache


# gemma2: window and soft-cap in the first of two layers; deepseek_v3: the latent.
@pytest.mark.parametrize(
    ("name", "num_slots"),
    [
        ("gemma2", 12),
        pytest.param("deepseek_v3", 16, marks=pytest.mark.slow),
    ],
)
def test_decoding_token_by_token_is_the_full_forward(name, num_slots):
    model = test_families.make(name)
    params = test_families.params_of(model)
    full = jax.jit(model.apply)(params, families.TOKENS)["logits"]
    logits, _ = _generate(model, params, num_slots, [6] + [1] * 6)
    np.testing.assert_allclose(logits, full, atol=1e-5 * np.abs(full).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("scan_layers", [False, True])
def test_every_family_decodes_as_it_is_trained(name, scan_layers):
    model = test_families.make(name, scan_layers=scan_layers)
    params = test_families.params_of(model)
    full = jax.jit(model.apply)(params, families.TOKENS)["logits"]
    logits, _ = _generate(model, params, 16, [5, 3, 1, 1, 2])
    np.testing.assert_allclose(logits, full, atol=1e-5 * np.abs(full).max())


@pytest.mark.slow
def test_a_ring_of_the_window_is_enough_for_windowed_layers():
    model = test_families.make("mistral")
    params = test_families.params_of(model)
    full = jax.jit(model.apply)(params, families.TOKENS)["logits"]
    # A window of 5 and two tokens at once: 5 + 2 - 1 slots.
    logits, _ = _generate(model, params, 6, [2] * 6)
    np.testing.assert_allclose(logits, full, atol=1e-5 * np.abs(full).max())


@pytest.mark.slow
def test_rows_of_several_lengths_are_decoded_side_by_side():
    model = test_families.make("qwen3")
    params = test_families.params_of(model)
    # The second row starts with three tokens that are none.
    positions = np.stack([np.arange(12), np.arange(12) - 3]).astype(np.int32)
    logits, _ = _generate(model, params, 16, [6, 1, 1, 4], np.maximum(positions, -1))
    alone = jax.jit(model.apply)(params, families.TOKENS[1:, 3:])["logits"]
    np.testing.assert_allclose(logits[1, 3:], alone[0], atol=2e-5)


def test_latent_attention_keeps_the_latent_and_one_rotated_key_of_each_token():
    model = test_families.make("deepseek_v3")
    cache = model.init_cache(
        lambda spec: kd.nn.ContiguousCache.empty(spec, batch_size=1, num_slots=1)
    )
    kept = [leaf.nbytes for layer in cache for leaf in layer.entries.values()]
    # 2 layers of a latent of 16 and a key of 4, in f32; heads would keep 4 * (12 + 12).
    assert kept == [4 * (16 + 4)] * 2


@pytest.mark.slow
def test_packed_documents_have_the_logits_and_gradients_of_each_alone():
    # One windowed layer.
    model = test_families.make("gemma3", num_layers=1)
    params = test_families.params_of(model)
    tokens = families.TOKENS[:1]
    lengths = [5, 7]
    segments = np.repeat([1, 2], lengths)[None].astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in lengths])[None].astype(np.int32)

    def loss(params, apart):
        if apart:
            parts = np.split(tokens, [5], axis=1)
            logits = [model.apply(params, part)["logits"] for part in parts]
            logits = jnp.concatenate(logits, axis=1)
        else:
            logits = model.apply(params, tokens, positions, segments)["logits"]
        return jnp.sum(jax.nn.log_softmax(logits)[..., 0]), logits

    @jax.jit
    def both(params):
        run = jax.value_and_grad(loss, has_aux=True)
        return run(params, True), run(params, False)

    ((_, expected), grads), ((_, logits), packed_grads) = both(params)
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max()),
        packed_grads,
        grads,
    )


@pytest.mark.slow
@pytest.mark.parametrize("remat", [False, True])
def test_scanned_layers_compute_what_single_ones_do(remat):
    make = functools.partial(test_families.make, "gemma2", num_layers=5)
    single, scanned = make(), make(scan_layers=True, remat=remat)
    params = test_families.params_of(single)
    layers = [params["params"][f"layer_{i}"] for i in range(5)]
    stack = lambda *trees: jax.tree.map(lambda *x: np.stack(x), *trees)  # noqa: E731
    rest = {k: v for k, v in params["params"].items() if not k.startswith("layer_")}
    stacked = rest | {
        "layers": {
            "layer_0": stack(layers[0], layers[2]),
            "layer_1": stack(layers[1], layers[3]),
        },
        "layer_4": layers[4],
    }
    expected = jax.jit(single.apply)(params, families.TOKENS)["logits"]
    grad = jax.jit(
        jax.value_and_grad(
            lambda p: scanned.apply({"params": p}, families.TOKENS)["logits"].mean()
        )
    )
    value, grads = grad(stacked)
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-4)
    assert np.any(grads["layers"]["layer_1"]["attention"]["key"]["kernel"][0] != 0)
