"""Batches of a kind that was seen before are placed by a program, as `device_put` does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kauldron import sharding
from kauldron.sharding import aligned_arrays
from tests import compilations


@jax.jit
def _slow(x):
    return jax.lax.fori_loop(0, 50, lambda _, y: jnp.tanh(y @ y), x)


def _place_of(num_devices=1):
    mesh = Mesh(np.array(jax.devices()[:num_devices]), ("data",))
    return NamedSharding(mesh, PartitionSpec("data"))


class _Placer:
    """A placer, and how often it fell back to the function."""

    def __init__(self, place):
        self.num_calls = 0

        def put(batch):
            self.num_calls += 1
            return jax.device_put(batch, place)

        self.place = sharding.BatchPlacer(put)


def _batch(seed=0, size=4):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(256, size=(size, 3), dtype=np.uint8),
        "nested": {"x": rng.normal(size=(size, 2)).astype(np.float32)},
        "mask": rng.random(size) > 0.5,
        "half": rng.normal(size=size).astype(ml_dtypes.bfloat16),
    }


def test_all_batches_but_the_first_go_through_the_program_and_are_the_same():
    place, made = _place_of(), _Placer(_place_of())
    for seed in range(4):
        batch = _batch(seed)
        with jax.transfer_guard("disallow"):
            placed = made.place(batch)
        expected = jax.device_put(batch, place)
        jax.tree.map(np.testing.assert_array_equal, placed, expected)
        for x, y in zip(
            jax.tree.leaves(placed), jax.tree.leaves(expected), strict=True
        ):
            assert (x.dtype, x.sharding, x.committed) == (y.dtype, y.sharding, True)
    assert made.num_calls == 1


def test_memory_of_the_host_may_be_written_to_again():
    made = _Placer(_place_of())
    batch = jax.tree.map(aligned_arrays.copy, _batch())  # which JAX would read in place
    before = batch["nested"]["x"].copy()
    made.place(_batch())
    busy = jnp.ones((400, 400)) / 400
    _slow(busy)
    placed = made.place(batch)
    batch["nested"]["x"][:] = 7
    np.testing.assert_array_equal(placed["nested"]["x"], before)


def test_batches_of_another_kind_compile_nothing():
    made = _Placer(_place_of())
    made.place(_batch())
    made.place(_batch())
    with compilations.counted() as compiled:
        for size in (1, 2, 3):
            assert made.place(_batch(size=size))["image"].shape == (size, 3)
        made.place({"x": np.zeros(2, np.float32)})
    assert compiled == []
    assert made.num_calls == 5


def test_large_batches_and_what_is_no_array_are_left_to_the_function():
    for batch in ({"x": np.zeros((2**18 + 1,), np.float32)}, {"x": 1.5}):
        made = _Placer(None)
        for _ in range(3):
            made.place(batch)
        assert made.num_calls == 3


def test_batches_of_several_devices_are_left_to_the_function():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    made = _Placer(_place_of(2))
    for _ in range(3):
        placed = made.place(_batch())
    assert made.num_calls == 3
    assert placed["image"].sharding == _place_of(2)


def test_without_jit_batches_are_placed_all_the_same():
    made = _Placer(_place_of())
    with jax.disable_jit():
        for _ in range(3):
            assert isinstance(made.place(_batch())["image"], jax.Array)
    assert made.num_calls == 3
