"""Modules, and the train property."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import modules


class Probe(nn.Module):
    is_training = modules.train_property()

    @nn.compact
    def __call__(self, x):
        return x + (1 if self.is_training else 0)


@pytest.mark.parametrize("is_training", [True, False])
def test_train_property_reaches_modules_inside_jit(is_training):
    with modules.set_train_property(is_training):
        y = jax.jit(lambda x: nn.Sequential([Probe(), Probe()]).apply({}, x))(0)
    assert y == 2 * is_training


def test_train_property_can_be_set_for_a_part():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            with modules.set_train_property(False):
                frozen = Probe()(x)
            return frozen, Probe()(x)

    with modules.set_train_property(True):
        assert Outer().apply({}, 0) == (0, 1)


def test_train_property_that_nobody_set_is_an_error():
    with pytest.raises(ValueError, match="nobody said"):
        Probe().apply({}, 0)


def test_train_property_outside_of_apply_is_an_error():
    with pytest.raises(ValueError, match="only inside `init` and `apply`"):
        _ = Probe().is_training


def test_train_property_must_be_a_bool():
    with (
        pytest.raises(ValueError, match="must be a bool: got 1"),
        modules.set_train_property(1),
    ):
        pass


def test_dropout_drops_in_training_only():
    x = jnp.ones((1000,))
    rngs = {"dropout": jax.random.key(0)}
    dropout = modules.Dropout(0.25)
    with modules.set_train_property(False):
        np.testing.assert_array_equal(dropout.apply({}, x, rngs=rngs), x)
    with modules.set_train_property(True):
        y = dropout.apply({}, x, rngs=rngs)
    # 250 dropped of 1000: standard deviation sqrt(1000 * .25 * .75) = 14
    assert 190 < int((y == 0).sum()) < 310
    np.testing.assert_allclose(y[y != 0], 1 / 0.75, rtol=1e-6)


def test_dropout_refuses_deterministic():
    with (
        pytest.raises(ValueError, match="train property"),
        modules.set_train_property(True),
    ):
        modules.Dropout(0.5).apply({}, jnp.ones(3), deterministic=True)


def test_sequential_splats_tuples_and_mappings():
    model = modules.Sequential(
        layers=[lambda x: (x, 2), lambda a, b: {"u": a, "v": b}, lambda u, v: u * v],
        outputs="y",
    )
    assert model.apply({}, 5) == {"y": 10}


@pytest.mark.parametrize(("shared", "num_layers"), [(True, 1), (False, 3)])
def test_repeated_layers_share_weights_or_not(shared, num_layers):
    model = modules.Sequential.from_repeated(nn.Dense(4), 3, shared_weights=shared)
    params = model.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    assert len(params) == num_layers


def test_flat_autoencoder_restores_the_shape_and_names_the_output():
    model = modules.FlatAutoencoder(
        encoder=nn.Dense(3), decoder=nn.Dense(20), inputs="batch.image"
    )
    x = jnp.ones((2, 4, 5, 1))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    preds = jax.jit(model.apply)(variables, x)
    assert preds["image"].shape == x.shape
    x, p = jax.device_get((x, variables["params"]))
    code = x.reshape(2, 20) @ p["encoder"]["kernel"] + p["encoder"]["bias"][None]
    flat = code @ p["decoder"]["kernel"] + p["decoder"]["bias"][None]
    np.testing.assert_allclose(preds["image"], flat.reshape(x.shape), rtol=1e-5)


def test_flat_autoencoder_with_wrong_decoder_says_how_many_features():
    model = modules.FlatAutoencoder(
        encoder=nn.Dense(3), decoder=nn.Dense(7), inputs="batch.image"
    )
    with pytest.raises(ValueError, match=r"got \(2, 7\), expected \(2, 20\)"):
        model.init(jax.random.key(0), jnp.ones((2, 4, 5, 1)))
