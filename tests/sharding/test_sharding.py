"""Placement on eight simulated devices."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from kauldron import sharding
from kauldron.sharding import TrainState
from kauldron.utils import sharding_utils


def _specs(tree):
    return jax.tree.map(lambda x: x.sharding.spec, tree)


def test_published_path_is_the_same_object():
    assert sharding_utils.sharding is sharding


def test_batch_is_split_on_the_first_axis():
    batch = {"image": np.ones((16, 3)), "more": {"label": np.zeros(8)}}
    placed = sharding.device_put(batch, sharding.ShardingStrategy().batch)
    assert _specs(placed) == {"image": P("devices"), "more": {"label": P("devices")}}
    assert placed["image"].addressable_shards[0].data.shape == (2, 3)
    np.testing.assert_array_equal(placed["image"], batch["image"])


def test_batch_that_does_not_divide_is_refused_with_numbers_that_would():
    with pytest.raises(ValueError, match="batch_size=8 or 16"):
        sharding.device_put(np.ones((13, 2)), sharding.FIRST_DIM)


def test_last_batch_that_does_not_divide_is_replicated():
    placed = sharding.put_batch(
        {"x": np.arange(13)}, sharding.FIRST_DIM, is_whole=False
    )
    assert placed["x"].sharding.is_fully_replicated
    np.testing.assert_array_equal(placed["x"], np.arange(13))


def test_python_scalars_are_placed():
    assert sharding.device_put({"a": 3}, sharding.REPLICATED)["a"] == 3


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((512, 2048), P()),  # exactly 4 MiB: not larger than the threshold
        ((1024, 2048), P(None, "devices")),
        ((2048, 1024), P("devices", None)),
        ((1025, 2047), P()),  # no axis divides
        ((8, 8), P()),
    ],
)
def test_fsdp_splits_the_largest_divisible_axis_of_large_arrays(shape, spec):
    rule = sharding.FSDPSharding(min_size_to_shard_mb=4)
    x = jax.ShapeDtypeStruct(shape, np.float32)
    assert rule({"w": x})["w"].spec == spec


def test_constraint_applies_rules_to_subtrees():
    strategy = sharding.ShardingStrategy(
        params=sharding.FSDPSharding(min_size_to_shard_mb=0)
    )

    @jax.jit
    def init():
        state = TrainState(
            step=jax.numpy.zeros((), int), params={"w": jax.numpy.ones((3, 16))}
        )
        return sharding.with_sharding_constraint(state, strategy.state)

    assert init().params["w"].sharding.spec == P(None, "devices")
    abstract = jax.eval_shape(init)
    abstract = sharding.with_sharding_constraint(abstract, strategy.state)
    assert abstract.params["w"].sharding.spec == P(None, "devices")


def test_sharding_tree_of_wrong_kind_is_refused():
    with pytest.raises(TypeError, match="'devices'"):
        sharding.device_put(np.ones(8), "devices")


def test_keys_are_on_every_device():
    tree = {"rng": jax.random.split(jax.random.key(0), 8), "w": np.ones((8, 8))}
    shardings = sharding.FSDPSharding(min_size_to_shard_mb=0)(tree)
    assert shardings["rng"].spec == P()
    assert shardings["w"].spec == P("devices", None)


def test_arrays_come_to_the_host_wherever_they_are():
    values = np.arange(16, dtype=np.float32).reshape(8, 2)
    tree = {
        "one device": jax.device_put(values, jax.devices()[3]),
        "split": sharding.device_put(values, sharding.FIRST_DIM),
        "everywhere": sharding.device_put(values, sharding.REPLICATED),
        "half": jax.numpy.asarray(values, "bfloat16"),
        "host": values,
    }
    fetched = sharding.to_host({**tree, "number": 3, "none": None})
    assert (fetched.pop("number"), fetched.pop("none")) == (3, None)
    for name, array in fetched.items():
        assert type(array) is np.ndarray
        assert array.dtype == tree[name].dtype
        np.testing.assert_array_equal(array.astype(np.float32), values)


def test_tracer_cannot_come_to_the_host():
    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.jit(sharding.to_host)(np.ones(3))


def test_array_that_is_where_it_should_be_is_left_alone():
    placed = sharding.device_put(np.ones((8, 2)), sharding.FIRST_DIM)
    assert sharding.with_sharding_constraint(placed, sharding.FIRST_DIM) is placed
    moved = sharding.with_sharding_constraint(placed, sharding.REPLICATED)
    assert moved.sharding == sharding.REPLICATED
