"""The optimizer state is placed as the parameters are, on eight devices."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from kauldron import kd
from kauldron.sharding import TrainState
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

FSDP = kd.sharding.ShardingStrategy(
    params=kd.sharding.FSDPSharding(min_size_to_shard_mb=0)
)
PARAMS = {
    "a": {"kernel": jnp.ones((16, 3)), "bias": jnp.ones(3)},
    "b": {"a": {"kernel": jnp.ones((3, 24))}},
}


def specs_of(tree):
    """Returns how each array is split, by its path; `None` is left to the compiler."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): x.sharding
        and x.sharding.spec
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def placed(optimizer, strategy=FSDP):
    state = jax.eval_shape(
        lambda: TrainState(
            step=jnp.int32(0), params=PARAMS, opt_state=optimizer.init(PARAMS)
        )
    )
    placed = kd.sharding.with_sharding_constraint(state, strategy.state_of(state))
    return specs_of(placed.opt_state)


OPTIMIZERS = {
    "adam": (optax.adam(1e-3), ["0.mu", "0.nu"]),
    "chain": (
        optax.chain(optax.clip(1.0), optax.chain(optax.sgd(1e-3, momentum=0.9))),
        ["1.0.0.trace"],
    ),
    "average": (kd.optim.ema_params(decay=0.9), ["ema"]),
    "steps": (
        optax.MultiSteps(optax.adam(1e-3), 2).gradient_transformation(),
        ["inner_opt_state.0.mu", "acc_grads"],
    ),
    "by_path": (
        kd.optim.by_path({"**": optax.adam(1e-3)}),
        ["inner_states.rest.inner_state.0.nu"],
    ),
    "bf16": (
        kd.train.Precision(opt_state="bfloat16").wrap_optimizer(
            optax.sgd(1e-3, momentum=0.9)
        ),
        ["inner.0.trace"],
    ),
    "loss scale": (
        kd.train.DynamicLossScale().wrap_optimizer(optax.adam(1e-3)),
        ["inner.0.mu"],
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_belongs_to_a_parameter_is_split_as_it_is(name):
    optimizer, prefixes = OPTIMIZERS[name]
    specs = placed(optimizer)
    for prefix in prefixes:
        assert specs[f"{prefix}.a.kernel"] == PartitionSpec("devices")
        assert specs[f"{prefix}.b.a.kernel"] == PartitionSpec(None, "devices")
        assert specs[f"{prefix}.a.bias"] == PartitionSpec()


def test_what_has_another_shape_or_no_parameter_is_left_to_the_compiler():
    specs = placed(optax.adafactor(1e-3, min_dim_size_to_factor=2))
    rows = [spec for key, spec in specs.items() if "v_row" in key or "v_col" in key]
    assert rows == [None] * len(rows) != []
    assert placed(optax.adam(1e-3))["0.count"] is None


def test_sharding_that_is_given_for_the_optimizer_state_wins():
    strategy = kd.sharding.ShardingStrategy(
        params=FSDP.params, opt_state=kd.sharding.REPLICATED
    )
    assert set(placed(optax.adam(1e-3), strategy).values()) == {PartitionSpec()}


def test_sharding_of_a_part_of_the_parameters_is_followed():
    split = FSDP.params(PARAMS)["a"]["kernel"]
    strategy = kd.sharding.ShardingStrategy(
        params={"a": {"kernel": split, "bias": None}, "b": kd.sharding.REPLICATED}
    )
    specs = placed(optax.adam(1e-3), strategy)
    assert specs["0.mu.a.kernel"] == PartitionSpec("devices")
    assert specs["0.mu.a.bias"] is None
    assert specs["0.nu.b.a.kernel"] == PartitionSpec()


def test_parameter_whose_path_ends_another_one_is_told_from_it():
    params = {"a": {"w": jnp.ones((16, 3))}, "b": {"a": {"w": jnp.ones((16, 3))}}}
    strategy = kd.sharding.ShardingStrategy(
        params={"a": FSDP.params(params)["a"], "b": kd.sharding.REPLICATED}
    )
    state = TrainState(
        step=jnp.int32(0), params=params, opt_state=optax.adam(1e-3).init(params)
    )
    mu = strategy.state_of(state).opt_state[0].mu
    assert mu["a"]["w"].spec == PartitionSpec("devices", None)
    assert mu["b"]["a"]["w"].spec == PartitionSpec()


def test_replicated_parameters_leave_the_state_to_the_compiler():
    assert set(placed(optax.adam(1e-3), kd.sharding.ShardingStrategy()).values()) == {
        None
    }


@functools.cache
def _trainer(**changes):
    return small_run.make_trainer(
        "unused",
        optimizer=optax.chain(optax.adam(1e-2), kd.optim.ema_params(decay=0.5)),
        train_metrics={},
        **changes,
    )


def test_steps_leave_the_state_where_its_parameters_are_and_change_no_number():
    states = {}
    for name, strategy in {
        "fsdp": FSDP,
        "plain": kd.sharding.ShardingStrategy(),
    }.items():
        trainer = _trainer(sharding=strategy)
        batch = jax.device_put(next(iter(trainer.train_ds)), trainer.sharding.batch)
        state = trainer.init_state()
        for _ in range(2):
            state, _ = trainer.trainstep.step(state, batch)
        assert trainer.trainstep._jitted_step._cache_size() == 1
        states[name] = state
    (adam, _), average = states["fsdp"].opt_state
    for tree in (adam.mu, adam.nu, average.ema):
        jax.tree.map(
            lambda x, p: (
                x.sharding.is_equivalent_to(p.sharding, p.ndim) or pytest.fail()
            ),
            tree,
            states["fsdp"].params,
        )
    kernels = [x for x in jax.tree.leaves(adam.mu) if x.ndim == 2]
    assert not any(x.sharding.is_fully_replicated for x in kernels)
    jax.tree.map(
        # The order of sums over devices is another one.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        states["fsdp"].params,
        states["plain"].params,
    )


def test_state_that_is_restored_is_placed_as_a_new_one():
    specs = specs_of(_trainer(sharding=FSDP).state_specs.opt_state)
    assert specs["0.0.mu.layers_0.kernel"] == PartitionSpec(None, "devices")
    assert specs["1.ema.layers_0.kernel"] == PartitionSpec(None, "devices")
