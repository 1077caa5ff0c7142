"""A loader may write its next batch into the memory of the one before, on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.evals import _batches as eval_batches
from kauldron.sharding import aligned_arrays
from kauldron.train import _batches

_NUM_BATCHES = 4


class _Reusing(kd.data.iters.Iterator):
    """Batches of equal numbers, 0, 1, 2, ..., all in the same memory.

    It begins where JAX would read it in place.
    """

    def __init__(self, ds, shape):
        super().__init__(ds)
        self._memory = aligned_arrays.empty(shape, np.float32)
        self._num_made = 0

    def __next__(self):
        if self._num_made == _NUM_BATCHES:
            raise StopIteration
        self._memory[...] = self._num_made
        self._num_made += 1
        return {"x": self._memory}

    def get_state(self):
        return self._num_made

    def set_state(self, state):
        self._num_made = state


class _Pipeline(kd.data.Pipeline):
    def __init__(self, shape):
        self._shape = shape

    is_endless = False

    def __len__(self):
        return _NUM_BATCHES

    def __iter__(self):
        return _Reusing(self, self._shape)

    def for_evaluation(self):
        return self


@jax.jit
def _slow(x):
    return jax.lax.fori_loop(0, 30, lambda _, y: jnp.tanh(y @ y), x)


_SHAPES = {"small": (8, 50), "large": (8, 40_000)}


@pytest.fixture(params=_SHAPES)
def shape(request):
    return _SHAPES[request.param]


@pytest.fixture(params=["one device", "all devices"])
def place(request):
    if request.param == "all devices":
        return kd.sharding.FIRST_DIM
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    return jax.sharding.NamedSharding(mesh, jax.P("data"))


def _values(batches):
    """Returns the numbers of all batches, which wait behind something slow."""
    found = []
    busy = jnp.ones((400, 400)) / 400
    for batch in batches:
        found.append(batch["x"])
        _slow(busy)  # as a step: what is placed now waits behind it
    return [np.unique(np.asarray(x)).tolist() for x in found]


def test_in_training(shape, place):
    ahead = _batches.BatchesAhead(iter(_Pipeline(shape)), place)
    batches = (ahead.next(is_last=n == _NUM_BATCHES - 1) for n in range(_NUM_BATCHES))
    assert _values(batches) == [[float(n)] for n in range(_NUM_BATCHES)]


def test_in_evaluations(shape, place):
    loaded = eval_batches.load(_Pipeline(shape), batch_sharding=place, name="eval")
    batches = (x.batch for x in loaded)
    assert _values(batches) == [[float(n)] for n in range(_NUM_BATCHES)]


def test_of_a_pipeline_that_puts_its_batches_on_devices(shape, place):
    batches = iter(_Pipeline(shape).device_put(place))
    assert _values(batches) == [[float(n)] for n in range(_NUM_BATCHES)]


def test_of_what_an_evaluation_gives_back():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    loaded = eval_batches.load(
        _Pipeline((8, 50)),
        batch_sharding=jax.sharding.NamedSharding(mesh, jax.P("data")),
        output_keys={"x": "batch.x"},
        name="eval",
    )
    rows = [batch.outputs["x"] for batch in loaded]
    assert [np.unique(x).tolist() for x in rows] == [[0.0], [1.0], [2.0], [3.0]]
