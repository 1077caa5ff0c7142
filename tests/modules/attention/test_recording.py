"""What attention was called with, kept for who looks: its weights are those of NumPy."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules.attention import numpy_attention

_RNG = np.random.default_rng(0)
_SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 3, 3, 0], [1] * 4 + [2] * 6], np.int32)
_CASES = {
    "all keys": {},
    "causal": {"is_causal": True},
    "window": {"is_causal": True, "window": 3},
    "mask": {"mask": _RNG.random((2, 1, 10, 10)) < 0.6},
    "mask of heads": {"mask": _RNG.random((6, 1, 10)) < 0.6},
    "documents": {"query_segment_ids": _SEGMENTS, "key_segment_ids": _SEGMENTS},
    "bias, scale, softcap": {
        "bias": _RNG.normal(size=(1, 6, 10, 10)).astype(np.float32),
        "scale": 0.7,
        "softcap": 2.0,
    },
    "slots of a cache": {
        "is_causal": True,
        "query_positions": np.stack([np.arange(10), np.arange(3, 13)]),
        "key_positions": np.stack([np.arange(-2, 8)[::-1], np.arange(10)]),
    },
}


class _Attends(nn.Module):
    """One call of the one function, on six heads of queries and two of keys."""

    options: dict
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x):
        query = nn.DenseGeneral((6, 4), name="query", dtype=self.dtype)(x)
        key = nn.DenseGeneral((2, 4), name="key", dtype=self.dtype)(x)
        self.sow("intermediates", "q", query)
        self.sow("intermediates", "k", key)
        return kd.nn.dot_product_attention(query, key, key, **self.options)


def _weights_in_numpy(query, key, **options):
    """Softmax of the products, pair by pair of what is seen, in f64."""
    q, k = np.asarray(query, np.float64), np.asarray(key, np.float64)
    k = np.repeat(k, q.shape[2] // k.shape[2], axis=2)
    scale = options.pop("scale", q.shape[-1] ** -0.5)
    logits = np.einsum("btnh,bsnh->bnts", q, k) * scale
    if (softcap := options.pop("softcap", None)) is not None:
        logits = softcap * np.tanh(logits / softcap)
    logits = logits + options.pop("bias", 0)
    exp = np.where(numpy_attention.sees(logits.shape, **options), np.exp(logits), 0)
    norm = exp.sum(-1, keepdims=True)
    return exp / np.where(norm == 0, 1, norm)


def _recorded(model, x):
    variables = model.init(jax.random.key(1), x)

    @jax.jit
    def run(variables, x):
        with kd.nn.record_attention():
            return model.apply(variables, x, mutable=["intermediates"])

    return run(variables, x)[1]["intermediates"]


@pytest.mark.parametrize("options", _CASES.values(), ids=_CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("implementation", ["plain", "blocks"])
def test_weights_are_softmax_of_queries_and_keys(options, dtype, implementation):
    x = jnp.asarray(_RNG.normal(size=(2, 10, 8)), jnp.float32)
    model = _Attends({**options, "implementation": implementation}, dtype)
    interms = _recorded(model, x)
    [call] = interms["attention_call"]
    expected = _weights_in_numpy(interms["q"][0], interms["k"][0], **options)
    weights = np.asarray(call.weights())
    assert weights.dtype == np.float32 and weights.shape == (2, 6, 10, 10)
    # The logits are f32 sums of products, exact for bf16, too.
    np.testing.assert_allclose(weights, expected, atol=2e-6)


def test_rows_of_a_batch_are_those_of_the_whole():
    x = jnp.asarray(_RNG.normal(size=(2, 10, 8)), jnp.float32)
    [call] = _recorded(_Attends(_CASES["documents"]), x)["attention_call"]
    np.testing.assert_array_equal(call.rows(1, 2).weights(), call.weights()[1:])


class _Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        y = nn.remat(_Attends)({"is_causal": True}, name="attention")(x)
        return x + nn.DenseGeneral(8, axis=(-2, -1))(y), None


class _Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            _Layer,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            length=3,
        )
        return layers(name="layers")(x, None)[0]


def test_layers_of_a_scan_are_told_apart_also_with_remat():
    x = jnp.asarray(_RNG.normal(size=(2, 10, 8)), jnp.float32)
    interms = _recorded(_Stack(), x)["layers"]["attention"]
    [call], [query], [key] = (interms[n] for n in ("attention_call", "q", "k"))
    assert call.num_stacked == (3,)
    for i in range(3):
        expected = _weights_in_numpy(query[i], key[i], is_causal=True)
        np.testing.assert_allclose(call.at(i).weights(), expected, atol=2e-6)
    np.testing.assert_allclose(call.weights()[2], call.at(2).weights(), atol=1e-7)
    with pytest.raises(ValueError, match="`at` first"):
        call.rows(0, 1)


def test_attention_of_flax_and_of_ours_on_top_of_it_is_seen():
    x = jnp.asarray(_RNG.normal(size=(2, 5, 8)), jnp.float32)
    mask = jnp.tril(jnp.ones((1, 1, 5, 5), bool))

    class Flax(nn.Module):
        kind: type

        @nn.compact
        def __call__(self, x):
            return self.kind(num_heads=2, name="attention")(x, mask=mask)

    with kd.nn.set_train_property(False):
        theirs = _recorded(Flax(nn.MultiHeadDotProductAttention), x)["attention"]
        ours = _recorded(Flax(kd.nn.MultiHeadDotProductAttention), x)["attention"]
    [call] = ours["attention_call"]
    # Both have the same names and the same random keys, and so the same parameters.
    np.testing.assert_allclose(
        call.weights(), theirs["attention_weights"][0], atol=2e-6
    )
    assert np.triu(np.asarray(call.weights()), 1).max() == 0


def test_a_softmax_over_queries_keeps_the_weights_that_it_makes():
    x = jnp.asarray(_RNG.normal(size=(2, 5, 8)), jnp.float32)
    model = kd.nn.ImprovedMultiHeadDotProductAttention(num_heads=2, softmax_axis=-2)
    [weights] = _recorded(model, x)["attn_weights"]
    np.testing.assert_allclose(weights.sum(-2), np.ones((2, 2, 5)), atol=1e-5)


def test_nothing_is_kept_and_nothing_compiled_where_nobody_looks():
    x = jnp.asarray(_RNG.normal(size=(2, 10, 8)), jnp.float32)
    model = _Attends({"is_causal": True})
    variables = model.init(jax.random.key(1), x)
    run = lambda x: model.apply(variables, x, mutable=["intermediates"])  # noqa: E731
    before = str(jax.make_jaxpr(run)(x))
    with kd.nn.record_attention():
        during = str(jax.make_jaxpr(lambda x: run(x))(x))
    after = str(jax.make_jaxpr(lambda x: run(x))(x))
    assert after == before
    assert len(during) > len(before)
    assert "attention_call" not in run(x)[1]["intermediates"]
