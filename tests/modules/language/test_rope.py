"""Rotary embeddings: what turns how far, and what scalings do to the angles."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd

_RNG = np.random.default_rng(0)
_X = _RNG.standard_normal((1, 3, 2, 8), dtype=np.float32)
_POSITIONS = np.array([[0, 1, 7]], np.int32)


def _complex(x, frequencies, layout):
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    if layout == "half":
        pairs = np.moveaxis(x.reshape(*x.shape[:-1], 2, -1), -2, -1)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(
        1j * _POSITIONS[..., None, None] * frequencies
    )
    axis = -2 if layout == "half" else -1
    return np.stack([turned.real, turned.imag], axis).reshape(x.shape)


@pytest.mark.parametrize("layout", ["half", "pair"])
def test_each_pair_is_a_complex_number_that_turns(layout):
    # theta**(-2i/8) for i = 0 ... 3.
    frequencies = np.array([1, 0.1, 0.01, 0.001])
    turned = kd.nn.Rope(layout=layout)(_X, _POSITIONS)
    np.testing.assert_allclose(turned, _complex(_X, frequencies, layout), atol=1e-6)


def test_layouts_differ_by_the_order_of_features_alone():
    order = np.arange(8).reshape(2, 4).T.ravel()
    half = kd.nn.Rope()(_X, _POSITIONS)
    pair = kd.nn.Rope(layout="pair")(_X[..., order], _POSITIONS)
    np.testing.assert_allclose(pair, half[..., order], atol=1e-6)


def test_products_depend_on_the_distance_alone():
    rope, (query, key) = kd.nn.Rope(), _RNG.standard_normal((2, 1, 1, 1, 8))
    products = [
        jnp.sum(
            rope(jnp.float32(query), np.array([[i]]))
            * rope(jnp.float32(key), np.array([[j]]))
        )
        for i, j in [(3, 1), (10, 8), (102, 100)]
    ]
    np.testing.assert_allclose(products, products[0], rtol=1e-4)


def test_a_fraction_leaves_the_last_features_as_they_are():
    turned = kd.nn.Rope(fraction=0.5)(_X, _POSITIONS)
    np.testing.assert_array_equal(turned[..., 4:], _X[..., 4:])
    expected = kd.nn.Rope()(_X[..., :4], _POSITIONS)
    np.testing.assert_array_equal(turned[..., :4], expected)


def test_angles_of_bf16_vectors_are_exact_at_late_positions():
    # 1,001 is no bf16 number: an angle in bf16 would be that of 1,000.
    x = jnp.asarray(_X[:, :1], jnp.bfloat16)
    turned = kd.nn.Rope()(x, np.array([[1001]]))
    exact = kd.nn.Rope()(x.astype(jnp.float32), np.array([[1001]]))
    assert turned.dtype == jnp.bfloat16
    np.testing.assert_allclose(turned.astype(jnp.float32), exact, atol=0.02)


def test_linear_scaling_divides_positions():
    rope = kd.nn.Rope(scaling=kd.nn.LinearScaling(factor=7.0))
    at_seven = rope(_X[:, 2:], np.array([[7]]))
    at_one = kd.nn.Rope()(_X[:, 2:], np.array([[1]]))
    np.testing.assert_allclose(at_seven, at_one, atol=1e-6)


def test_ntk_scaling_keeps_the_highest_frequency_and_divides_the_lowest():
    plain = 1e4 ** (-np.arange(0, 8, 2) / 8)
    scaled = kd.nn.NtkScaling(factor=4.0).frequencies(1e4, 8)
    np.testing.assert_allclose(scaled[[0, -1]], plain[[0, -1]] / [1, 4])
    assert np.all(np.diff(plain / scaled) > 0)


@pytest.mark.parametrize(
    "scaling",
    [
        kd.nn.YarnScaling(factor=4.0, original_length=128, beta_fast=8.0),
        kd.nn.Llama3Scaling(factor=4.0, original_length=128),
    ],
)
def test_scalings_by_parts_keep_fast_pairs_and_divide_slow_ones(scaling):
    plain = 1e4 ** (-np.arange(0, 32, 2) / 32)
    ratio = plain / scaling.frequencies(1e4, 32)
    # 20 turns within the 128 tokens, and 0.001 of one.
    np.testing.assert_allclose(ratio[[0, -1]], [1, 4])
    assert np.all(np.diff(ratio) >= 0)
    assert len(set(ratio.round(6))) > 2


def test_yarn_lengthens_vectors_by_the_logarithm_of_the_factor():
    rope = kd.nn.Rope(scaling=kd.nn.YarnScaling(factor=np.e**5, original_length=64))
    lengths = [np.linalg.norm(x) for x in (_X, rope(_X, _POSITIONS))]
    np.testing.assert_allclose(lengths[1] / lengths[0], 1.5, rtol=1e-5)
