"""Modules around modules, and functions as modules."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, kontext

_KEY = jax.random.key(0)
_X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Flagged(nn.Module):
    """Knows nothing of keys; adds one in training."""

    flag: str = "train"

    @nn.compact
    def __call__(self, x, train=None, deterministic=None):
        is_training = train if deterministic is None else not deterministic
        return nn.Dense(2)(x) + (1.0 if is_training else 0.0)


def test_a_wrapper_adds_no_level_to_the_parameters_and_has_the_keys():
    class Doubled(kd.nn.WrapperModule):
        def __call__(self, *args, **kwargs):
            return 2 * self.model(*args, **kwargs)

    model = kd.nn.Sequential(layers=[nn.Dense(2)], inputs="batch.x")
    wrapped = Doubled(model=model)
    assert kontext.get_keypaths(wrapped) == {"inputs": "batch.x"}
    variables = model.init(_KEY, _X)
    specs = jax.eval_shape(wrapped.init, _KEY, _X)
    assert jax.tree.map(np.shape, specs) == jax.tree.map(np.shape, variables)
    expected = 2 * model.apply(variables, _X)
    np.testing.assert_array_equal(wrapped.apply(variables, inputs=_X), expected)


@pytest.mark.parametrize("name", ["train", "~deterministic"])
@pytest.mark.parametrize("keys", ["batch.x", {"x": "batch.x"}])
def test_an_external_module_gets_keys_and_the_train_flag(name, keys):
    model = kd.nn.ExternalModule(model=Flagged(), keys=keys, train_kwarg_name=name)
    context = kd.train.Context(step=0, batch={"x": _X})
    kwargs = kontext.resolve_from_keyed_obj(context, model, func=model.__call__)
    with kd.nn.set_train_property(True):
        variables = model.init(_KEY, **kwargs)
        trained = model.apply(variables, **kwargs)
    assert set(variables["params"]) == {"Dense_0"}
    with kd.nn.set_train_property(False):
        evaluated = model.apply(variables, **kwargs)
    np.testing.assert_allclose(trained - evaluated, 1.0, rtol=1e-6)


def test_a_train_flag_that_is_no_argument_is_told_with_the_nearest():
    model = kd.nn.ExternalModule(Flagged(), "batch.x", train_kwarg_name="trian")
    with (
        kd.nn.set_train_property(True),
        pytest.raises(ValueError, match="Did you mean 'train'"),
    ):
        model.init(_KEY, _X)


def test_a_dummy_model_has_no_parameters():
    model = kd.nn.DummyModel()
    assert model.init(_KEY, {"x": _X}) == {}
    assert model.apply({})["logits"].tolist() == [42.0]
    assert kontext.get_keypaths(kd.nn.DummyModel(inputs="batch.x")) == {
        "inputs": "batch.x"
    }


def _init(rng, x):
    return {"layer": (jax.random.normal(rng, (x.shape[-1], 2)), jnp.zeros(2))}


def _apply(params, x, rng=None):
    kernel, bias = params["layer"]
    y = x @ kernel + bias[None]
    return y if rng is None else y + jax.random.normal(rng, y.shape)


def test_two_functions_are_a_module():
    model = kd.nn.FunctionModule(_init, _apply)
    variables = model.init(_KEY, _X)
    kernel, _ = variables["params"]["layer"]
    np.testing.assert_allclose(model.apply(variables, _X), _X @ kernel, rtol=1e-6)
    nested = nn.Sequential([model, nn.Dense(1)])
    params = nested.init(_KEY, _X)["params"]
    assert params["layers_0"]["layer"][0].shape == (3, 2)


def test_functions_get_a_random_key_where_there_is_one():
    model = kd.nn.FunctionModule(_init, _apply, rng_kwarg_name="rng")
    variables = model.init(_KEY, _X)
    still = model.apply(variables, _X)
    first, second, again = (
        model.apply(variables, _X, rngs={"default": jax.random.key(i)})
        for i in (1, 2, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != second) and np.any(first != still)


def test_a_state_of_functions_changes_where_it_may():
    model = kd.nn.FunctionModule(
        lambda rng, x: ({}, {"sum": jnp.zeros(())}),
        lambda params, state, x: (x, {"sum": state["sum"] + x.sum()}),
        has_state=True,
    )
    variables = model.init(_KEY, _X)
    assert variables["state"]["sum"] == 0  # as before the first step
    _, after = model.apply(variables, _X, mutable=True)
    np.testing.assert_allclose(after["state"]["sum"], _X.sum(), rtol=1e-5)
    np.testing.assert_array_equal(model.apply(after, _X), _X)


def test_parameters_that_are_no_dict_are_refused():
    model = kd.nn.FunctionModule(lambda rng, x: [x], lambda params, x: x)
    with pytest.raises(TypeError, match=r"params as a dict: got list"):
        model.init(_KEY, _X)
