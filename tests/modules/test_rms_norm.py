"""RMSNorm: numbers, names of parameters, f32 statistics."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from tests.modules import contract


@contract.parametrize(
    [
        contract.Block(name="scale", make=kd.nn.RMSNorm, inputs=((5,),), output=(5,)),
        contract.Block(
            name="one_plus_scale",
            make=lambda: kd.nn.RMSNorm(adds_one=True, axis_name="head_dim"),
            inputs=((5,),),
            output=(5,),
        ),
    ]
)
def test_contract(block):
    contract.check(block)


def test_numbers_and_parameters_are_those_of_flax():
    x = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    theirs, ours = nn.RMSNorm(epsilon=1e-5), kd.nn.RMSNorm(epsilon=1e-5)
    params = {"params": {"scale": jnp.linspace(-1, 2, 7)}}
    assert jax.tree.structure(theirs.init(jax.random.key(0), x)) == jax.tree.structure(
        params
    )
    np.testing.assert_allclose(
        ours.apply(params, x), theirs.apply(params, x), rtol=1e-6
    )


def test_one_is_added_to_the_scale_where_the_parameter_starts_at_zero():
    x = jnp.array([3.0, 4.0])
    norm = kd.nn.RMSNorm(epsilon=0.0, adds_one=True)
    params = norm.init(jax.random.key(0), x)
    np.testing.assert_array_equal(params["params"]["scale"], [0, 0])
    # The mean square of 3 and 4 is 12.5.
    np.testing.assert_allclose(norm.apply(params, x), x / 12.5**0.5, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_mean_square_is_taken_in_f32(dtype):
    # 300**2 is beyond f16; 1,000 bf16 ones would sum to 256.
    x = jnp.full((1000,), 300, dtype)
    y = kd.nn.RMSNorm(use_scale=False).apply({}, x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.ones(1000))
