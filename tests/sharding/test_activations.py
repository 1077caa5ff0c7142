"""Activations by the names of their axes: split over a mesh, or not touched at all."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from kauldron import kd

pytestmark = pytest.mark.usefixtures("quick_compile")


def spec_within(strategy, shape, names=("sequence", "embed")):
    """Returns how an activation is split inside of a step."""

    def step(x):
        with strategy.set_global_mesh():
            return kd.sharding.with_logical_constraint(x, names)

    found = [
        equation.params["sharding"].spec
        for equation in jax.make_jaxpr(step)(jnp.zeros(shape)).eqns
        if equation.primitive.name == "sharding_constraint"
    ]
    return found[0] if found else None


def mesh(**axes):
    return kd.sharding.Mesh(axes=axes)


def test_tokens_and_batch_are_split():
    spec = spec_within(mesh(data=2, sequence=4), (6, 8, 5))
    assert spec == P("data", "sequence", None)


def test_axes_between_batch_and_tokens_stay_whole():
    spec = spec_within(mesh(data=2, sequence=4), (6, 3, 8, 5))
    assert spec == P("data", None, "sequence", None)


def test_activation_without_a_batch_is_split_along_its_names():
    assert spec_within(mesh(data=2, sequence=4), (8, 5)) == P("sequence", None)


def test_rule_splits_tokens_over_the_devices_of_tensor_parallelism():
    strategy = kd.sharding.Mesh(
        axes={"data": 2, "tensor": 4}, rules={"sequence": "tensor"}
    )
    assert spec_within(strategy, (6, 8, 5)) == P("data", "tensor", None)


def test_axis_that_does_not_divide_stays_whole():
    strategy = mesh(data=2, sequence=4)
    assert spec_within(strategy, (5, 8, 5)) == P(None, "sequence", None)
    assert spec_within(strategy, (6, 1, 5)) == P("data", None, None)
    assert spec_within(strategy, (5, 1, 5)) is None


@pytest.mark.parametrize(
    "strategy", [kd.sharding.ShardingStrategy(), mesh(tensor=8)], ids=["none", "tensor"]
)
def test_nothing_is_added_to_a_program_that_has_nothing_to_split(strategy):
    assert spec_within(strategy, (6, 8, 5)) is None


def test_nothing_is_added_outside_of_a_step():
    x = jnp.zeros((6, 8, 5))
    assert kd.sharding.with_logical_constraint(x, ("sequence", "embed")) is x


def test_more_names_than_axes_are_refused():
    with pytest.raises(ValueError, match="with 1 axes was given 2 names"):
        spec_within(mesh(sequence=8), (8,))


class _Block(nn.Module):
    """A layer that reads where a token is, and stores what it computes."""

    has_examples: bool = True

    @nn.compact
    def __call__(self, x, positions, segment_ids, cache):
        x = kd.sharding.with_logical_constraint(x, ("sequence", "embed"))
        y = jnp.tanh(nn.Dense(x.shape[-1], name="dense")(x))
        self.sow("intermediates", "hidden", y if self.has_examples else y.sum())
        return x + y * jnp.sin(1.0 * positions)[..., None], cache


def _model(has_examples=True):
    return kd.nn.CausalLM(
        vocab_size=16,
        features=8,
        num_layers=4,
        blocks=[_Block(has_examples)],
        scan_layers=True,
        tokens="batch.tokens",
    )


_RNG = np.random.default_rng(0)
TOKENS, POSITIONS = (_RNG.integers(16, size=(8, 4)) for _ in range(2))


def results(model, strategy):
    """Loss, logits, intermediates; gradients. Parameters are where the strategy says."""

    def loss(params, *inputs):
        outputs, after = model.apply({"params": params}, *inputs, mutable=True)
        logits = outputs["logits"]
        return jnp.sum(logits**2), (logits, after["intermediates"])

    @jax.jit
    def step(params, *inputs):
        with strategy.set_global_mesh():
            return jax.value_and_grad(loss, has_aux=True)(params, *inputs)

    params = model.init(jax.random.key(0), TOKENS)["params"]
    params = kd.sharding.device_put(params, strategy.params)
    return step(params, *kd.sharding.device_put((TOKENS, POSITIONS), strategy.batch))


@pytest.fixture(scope="module")
def plain():
    whole = kd.sharding.REPLICATED
    return results(_model(), kd.sharding.ShardingStrategy(batch=whole))


STAGES = {"axes": {"stage": 2, "fsdp": 2, "sequence": 2}, "num_microbatches": 4}


@pytest.fixture(scope="module")
def in_stages():
    return results(
        _model(), kd.sharding.Mesh(**STAGES, paths={"layers.**": ("stage",)})
    )


def assert_close(found, expected):
    jax.tree.map(
        # Sums in another order.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found,
        expected,
    )


def test_stages_give_the_logits_and_gradients_of_a_scan(plain, in_stages):
    assert_close(in_stages[0][1][0], plain[0][1][0])
    assert_close(in_stages[1], plain[1])


def test_stages_give_the_intermediate_values_of_every_layer_and_example(
    plain, in_stages
):
    found, expected = (x[0][1][1] for x in (in_stages, plain))
    hidden = found["layers"]["layer_0"]["hidden"][0]
    assert hidden.shape == (4, 8, 4, 8)  # layers, examples, tokens, features
    assert_close(found, expected)


def test_stages_keep_their_layers_to_themselves(in_stages):
    _, grads = in_stages
    kernel = grads["layers"]["layer_0"]["dense"]["kernel"]
    assert kernel.sharding.spec[0] == "stage"
    assert kernel.sharding.shard_shape(kernel.shape)[0] == 2  # of four layers


def test_value_without_examples_is_refused_before_compiling():
    mesh = kd.sharding.Mesh(**STAGES)
    with pytest.raises(ValueError, match=r"hidden\.0` of a layer has the shape \(\)"):
        jax.eval_shape(lambda: results(_model(has_examples=False), mesh))


def test_number_of_parts_fits_the_batch():
    def plan(batch_size, num_layers=4, **kwargs):
        with kd.sharding.Mesh(**kwargs).set_global_mesh():
            return kd.sharding.pipelining(num_layers, batch_size)

    axes = {"data": 2, "stage": 4}
    assert plan(16, axes=axes).num_microbatches == 4  # one for each stage
    assert plan(16, axes=axes, num_microbatches=8).num_microbatches == 8
    assert plan(12, axes=axes, num_microbatches=4).num_microbatches == 2  # of 6
    assert plan(5, axes=axes, num_microbatches=4).num_microbatches == 1
    assert plan(16, axes={"data": 8}) is None
    assert plan(16, num_layers=6, axes=axes) is None
