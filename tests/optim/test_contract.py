"""One suite over every optimizer, from optax and our own."""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, konfig
from kauldron.sharding import TrainState
from tests.optim import contract

pytestmark = pytest.mark.usefixtures("quick_compile")

NAMES = sorted(contract.all_nodes())
QUICK = sorted({*contract.COMMON, *contract.own_nodes()})
SLOW = sorted({*NAMES} - {*QUICK})

parametrize_compiled = pytest.mark.parametrize(
    ("names", "name"),
    [
        *((tuple(QUICK), name) for name in QUICK),
        *(pytest.param(tuple(SLOW), name, marks=pytest.mark.slow) for name in SLOW),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)


@functools.cache
def optimizer_of(name):
    node = contract.all_nodes()[name]
    return konfig.resolve(konfig.ConfigDict(json.loads(node.to_json())))


@functools.cache
def two_updates(names):
    """Returns params before, params and states after, by name; and the jitted update.

    One compilation for all members, which is quicker than one for each.
    """
    before = contract.make_params()

    @jax.jit
    def init(params):
        return {name: optimizer_of(name).init(params) for name in names}

    @jax.jit
    def update(params, states):
        both = {
            name: contract.make_update(optimizer_of(name))(params[name], states[name])
            for name in names
        }
        return {k: v[0] for k, v in both.items()}, {k: v[1] for k, v in both.items()}

    params, states = update(dict.fromkeys(names, before), init(before))
    params, states = update(params, states)
    return before, params, states, update


@parametrize_compiled
def test_update_is_finite_and_moves_the_parameters(names, name):
    before, after, _, _ = two_updates(names)
    assert np.any(before["head"]["kernel"] != after[name]["head"]["kernel"])
    for leaf in jax.tree.leaves(after[name]):
        assert np.isfinite(leaf).all()


def test_second_update_does_not_compile_again():
    *_, update = two_updates(tuple(QUICK))
    assert update._cache_size() == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_and_shapes_stay(name, dtype):
    optimizer = optimizer_of(name)
    params = contract.make_params(dtype)
    state = jax.eval_shape(optimizer.init, params)
    after = jax.eval_shape(contract.make_update(optimizer), params, state)
    described = jax.tree.map(lambda x: (x.shape, str(x.dtype)), (params, state))
    assert jax.tree.map(lambda x: (x.shape, str(x.dtype)), after) == described


@pytest.mark.parametrize("name", NAMES)
def test_state_shards_as_the_parameters_do(name):
    sharding = kd.sharding.FSDPSharding(min_size_to_shard_mb=0)
    optimizer = optimizer_of(name)

    def shardings(params):
        params = kd.sharding.with_sharding_constraint(params, sharding)
        state = jax.eval_shape(optimizer.init, params)
        return params, kd.sharding.with_sharding_constraint(state, sharding)

    params, state = shardings(jax.eval_shape(contract.make_params))
    expected = {p.shape: p.sharding for p in jax.tree.leaves(params)}
    assert not expected[(4, 8)].is_fully_replicated
    for leaf in jax.tree.leaves(state):
        if leaf.shape in expected:
            assert leaf.sharding == expected[leaf.shape]


def test_states_come_back_from_a_checkpoint_with_the_same_bits(tmp_path):
    _, _, states, _ = two_updates(tuple(QUICK))
    state = TrainState(step=jnp.int32(2), params={}, collections={}, opt_state=states)
    checkpointer = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1)
    checkpointer.save(state, step=2, force=True)
    checkpointer.wait_until_finished()
    restored = checkpointer.restore(jax.tree.map(jnp.zeros_like, state))
    checkpointer.close()
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)
