"""Norms and activations by name: statistics over what, how accurate, which errors."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.modules import _activations, _norms

OVER = {
    # Of an array `b t h w c` whose last two axes before the channels are positions.
    "batch": (0, 1, 2, 3),
    "instance": (2, 3),
    "layer": (4,),
}


class Normalised(nn.Module):
    norm: _norms.Norm
    num_spatial_axes: int = 2
    times: int = 1

    @nn.compact
    def __call__(self, x):
        for _ in range(self.times):
            x = _norms.make_norm(
                self.norm, owner=self, num_spatial_axes=self.num_spatial_axes
            )(x)
        return x


def normalised(norm, x, num_spatial_axes=2):
    with kd.nn.set_train_property(True):
        model = Normalised(norm, num_spatial_axes)
        return np.asarray(jax.jit(model.init_with_output)(jax.random.key(0), x)[0])


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    # A large mean: `E[x²] - E[x]²` in f32 is wrong by more than the variance.
    return (3000 + rng.standard_normal((2, 3, 4, 5, 8))).astype(np.float32)


@pytest.mark.parametrize("norm", OVER)
def test_norms_take_mean_and_variance_over_their_axes(norm, images):
    x = images.astype(np.float64)
    mean = x.mean(OVER[norm], keepdims=True)
    expected = (x - mean) / np.sqrt(x.var(OVER[norm], keepdims=True) + 1e-5)
    # f32 knows values around 3000 to 1e-4.
    np.testing.assert_allclose(normalised(norm, images), expected, atol=2e-3)


def test_group_norm_is_over_positions_and_features_of_a_group_for_each_example(images):
    x = images.astype(np.float64).reshape(2, 3, 4, 5, 2, 4)
    mean = x.mean((2, 3, 5), keepdims=True)
    expected = (x - mean) / np.sqrt(x.var((2, 3, 5), keepdims=True) + 1e-5)
    norm = nn.GroupNorm(2, epsilon=1e-5, use_fast_variance=False)
    y = normalised(norm, images)
    np.testing.assert_allclose(y, expected.reshape(y.shape), atol=2e-3)


def test_rms_norm_is_over_features():
    x = np.array([[3.0, 4.0], [1.0, 7.0]], np.float32)
    # Means of squares 12.5 and 25.
    expected = x / np.array([[12.5**0.5], [5.0]])
    np.testing.assert_allclose(normalised("rms", x, 0), expected, rtol=1e-5)


def test_examples_without_leading_axes_are_normalised_as_in_a_batch(images):
    one = normalised("instance", images[0, 0])
    np.testing.assert_allclose(one, normalised("instance", images)[0, 0], atol=1e-6)


def test_statistics_of_bf16_are_f32():
    x = jnp.asarray(np.random.default_rng(0).normal(64, 1, (4096, 1)), jnp.bfloat16)
    variables = {
        "params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
    }
    apply = functools.partial(kd.nn.BatchNorm().apply, mutable=["batch_stats"])
    with kd.nn.set_train_property(True):
        _, updated = jax.jit(apply)(variables, x)
    mean = updated["batch_stats"]["mean"]
    assert mean.dtype == jnp.float32
    # Momentum 0.9 from a first mean of 0.
    true_mean = np.asarray(x, np.float64).mean()
    np.testing.assert_allclose(mean, [0.1 * true_mean], rtol=1e-5)


def test_batch_norm_evaluates_with_running_statistics():
    x = np.array([[1.0], [3.0]], np.float32)
    stats = {"mean": jnp.array([1.0]), "var": jnp.array([4.0])}
    variables = {
        "params": {"scale": jnp.array([2.0]), "bias": jnp.array([5.0])},
        "batch_stats": stats,
    }
    with kd.nn.set_train_property(False):
        y = jax.jit(kd.nn.BatchNorm().apply)(variables, x)
    np.testing.assert_allclose(y, [[5.0], [7.0]], rtol=1e-5)


def test_batch_norm_refuses_use_running_average():
    with (
        pytest.raises(ValueError, match="follows the train property"),
        kd.nn.set_train_property(True),
    ):
        kd.nn.BatchNorm(use_running_average=True).init(jax.random.key(0), jnp.ones(3))


def test_a_module_is_copied_at_each_use():
    model = Normalised(nn.LayerNorm(), times=2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 4, 4, 3)))
    assert len(shapes["params"]) == 2


def test_a_norm_given_as_a_module_has_the_name_of_one_by_name():
    for norm in ("layer", nn.LayerNorm()):
        block = kd.nn.ResidualBlock(2, norm=norm)
        shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.ones((4, 4, 2)))
        assert {*shapes["params"]["conv1"]} == {"conv", "norm"}
        assert {*shapes["params"]} == {"conv1", "conv2"}


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("bacth", "There is no norm 'bacth'. Did you mean 'batch'?"),
        ("group", r"12 features do not divide into 32 groups.*nn.GroupNorm\(12\)"),
    ],
)
def test_a_norm_that_cannot_be_is_told(norm, message):
    with pytest.raises(ValueError, match=message):
        normalised(norm, jnp.ones((2, 4, 4, 12)))


def test_an_instance_norm_over_one_position_is_told():
    with pytest.raises(ValueError, match="same output whatever its input is"):
        normalised("instance", jnp.ones((2, 1, 1, 3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0, 2]),
        ("leaky_relu", [-0.01, 2]),
        ("gelu", [-0.158655, 1.954500]),  # x Φ(x)
        ("gelu_tanh", [-0.158808, 1.954598]),
        ("silu", [-0.268941, 1.761594]),
        ("prelu", [-0.25, 2]),
        (None, [-1, 2]),
        (jnp.square, [1, 4]),
        (kd.nn.PReLU(0.5), [-0.5, 2]),
    ],
)
def test_activations_have_the_values_of_their_names(name, expected):
    class Activated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return _activations.make_activation(name, owner=self)(x)

    x = jnp.array([-1.0, 2.0])
    y, _ = jax.jit(Activated().init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_an_activation_with_a_typo_is_told():
    with pytest.raises(ValueError, match=r"'rleu'. Did you mean 'relu'?"):
        _activations.make_activation("rleu", owner=kd.nn.PReLU())
