"""Names of the axes of parameters, and the contract of blocks itself."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from kauldron import modules
from kauldron.ktyping import Float, typechecked
from tests.modules import contract

_INIT = modules.with_logical_axes(nn.initializers.lecun_normal(), ("embed", "mlp"))
_BIAS = modules.with_logical_axes(nn.initializers.normal(), ("mlp",))


class Layer(nn.Module):
    features: int = 4

    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b f"]:
        y = nn.Dense(self.features, kernel_init=_INIT, bias_init=_BIAS, name="dense")(x)
        return nn.relu(y)


def test_parameters_stay_plain_arrays():
    params = Layer().init(jax.random.key(0), jnp.ones((2, 3)))["params"]
    assert isinstance(params["dense"]["kernel"], jax.Array)


def test_names_are_told_when_asked_without_running_anything():
    axes = modules.logical_axes(Layer(), jax.ShapeDtypeStruct((2, 3), jnp.float32))
    assert axes["params"]["dense"]["kernel"] == PartitionSpec("embed", "mlp")
    assert axes["params"]["dense"]["bias"] == PartitionSpec("mlp")


def test_what_has_no_names_says_nothing():
    axes = modules.logical_axes(nn.Dense(2), jnp.ones((1, 3)))
    assert axes["params"] == {"kernel": PartitionSpec(), "bias": PartitionSpec()}


def test_scan_names_the_axis_that_it_adds():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.scan(
                lambda layer, x, _: (layer(x), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=5,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            return layers(Layer(features=3, name="layer"), x, None)[0]

    axes = modules.logical_axes(Stack(), jnp.ones((1, 3)))
    spec = axes["params"]["layer"]["dense"]["kernel"]
    assert spec == PartitionSpec("layers", "embed", "mlp")


def test_names_of_another_rank_are_an_error_that_shows_both():
    init = modules.with_logical_axes(nn.initializers.ones, ("embed",))
    with pytest.raises(ValueError, match=r"shape \(3, 4\).*1 logical axis names"):
        nn.Dense(4, kernel_init=init).init(jax.random.key(0), jnp.ones((1, 3)))


def _block(make, **kwargs):
    kwargs = {"inputs": ((3,),), "output": (4,)} | kwargs
    return contract.Block(name="layer", make=make, **kwargs)


def test_contract_holds_for_a_good_block():
    contract.check(_block(Layer))


class _Detached(Layer):
    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b f"]:
        y = Layer(name="inner")(x)
        bias = self.param("bias", _BIAS, (4,))
        return y + jnp.broadcast_to(jax.lax.stop_gradient(bias), y.shape)


class _MixesExamples(Layer):
    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b f"]:
        y = Layer(name="inner")(x)
        return y - y.mean(axis=0, keepdims=True)


class _TakesAnything(Layer):
    @nn.compact
    def __call__(self, x):
        return Layer(name="inner")(jnp.broadcast_to(x, (*x.shape[:-1], 3)))


class _StaysF32(Layer):
    @nn.compact
    @typechecked
    def __call__(self, x: Float["*b d"]) -> Float["*b f"]:
        return Layer(name="inner")(x).astype(jnp.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_Detached, "no gradient reaches bias"),
        (_MixesExamples, "Not equal to tolerance"),
        (_TakesAnything, "DID NOT RAISE"),
        (_StaysF32, "bfloat16"),
        (lambda: nn.Dense(4), "has axes"),
    ],
)
def test_contract_notices(make, message):
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        contract.check(_block(make))
