"""Chained datasets: specs, lengths, and what they do to batches."""

from __future__ import annotations

import dataclasses
import types

import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.data import iters


def _pipeline(**kwargs):
    defaults = {"shuffle": False, "batch_size": 8, "seed": 0, "num_epochs": 1}
    return kd.data.py.DataSource({"x": np.arange(20)}, **{**defaults, **kwargs})


def _xs(ds):
    return [np.asarray(batch["x"]).tolist() for batch in ds]


def test_mapped_spec_is_that_of_the_result():
    ds = _pipeline().map(lambda batch: {"y": batch["x"][:, None].astype(np.float32)})
    assert ds.element_spec["y"].shape == (8, 1)
    assert ds.element_spec["y"].dtype == np.float32


def test_mapped_spec_of_a_function_that_refuses_zeros():
    def inverse(batch):
        if not batch["x"].any():
            raise ZeroDivisionError
        return {"y": 1 / batch["x"].clip(1)}

    assert _pipeline().map(inverse).element_spec["y"].shape == (8,)


def test_take_ends_and_reports_its_length():
    ds = _pipeline(num_epochs=None).take(3)
    assert len(ds) == len(_xs(ds)) == 3
    assert not ds.is_endless
    assert len(_pipeline().take(99)) == 2


def test_cache_reads_once_and_survives_for_evaluation():
    reads = []

    def count(batch):
        reads.append(1)
        return batch

    ds = _pipeline(batch_drop_remainder=True).map(count).cache()
    assert _xs(ds) == _xs(ds) == _xs(ds.for_evaluation())
    assert len(reads) == 2
    assert ds.for_evaluation().for_evaluation() is ds.for_evaluation()


def test_endless_data_cannot_be_cached():
    with pytest.raises(TypeError, match=r"num_epochs.*take"):
        _pipeline(num_epochs=None).cache()


def test_chains_keep_the_remainder_in_evaluation():
    ds = _pipeline().map(lambda batch: batch).prefetch(2)
    assert [len(x) for x in _xs(ds)] == [8, 8]
    assert [len(x) for x in _xs(ds.for_evaluation())] == [8, 8, 4]


def test_batches_on_devices_are_split_along_the_first_axis():
    ds = _pipeline().device_put()
    batch = next(iter(ds))
    assert isinstance(batch["x"], jax.Array)
    assert batch["x"].sharding.is_equivalent_to(kd.sharding.FIRST_DIM, 1)
    assert _xs(ds) == _xs(_pipeline())


def test_smaller_last_batch_is_put_on_devices_too():
    batches = list(_pipeline().for_evaluation().device_put())
    assert batches[-1]["x"].shape == (4,)
    assert batches[-1]["x"].sharding.is_fully_replicated


def test_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(ValueError, match=r"split over 8 devices.*batch_size=8 or 16"):
        next(iter(_pipeline(batch_size=12).device_put()))


def test_texts_are_not_put_on_devices():
    ds = kd.data.py.DataSource(
        [{"x": 1.5, "text": "t"}] * 8, shuffle=False, batch_size=8, seed=0
    )
    assert list(next(iter(ds.device_put()))) == ["x"]


def test_prefetch_loads_ahead_and_passes_errors_on():
    loaded = []

    def record(batch):
        loaded.append(int(batch["x"][0]))
        if len(loaded) == 2:
            raise ZeroDivisionError("second batch")
        return batch

    with iter(_pipeline().map(record).prefetch(2)) as batches:
        next(batches)
        with pytest.raises(ZeroDivisionError, match="second batch"):
            next(batches)
        with pytest.raises(ZeroDivisionError):  # and again, rather than hang
            next(batches)


def test_chain_takes_the_seed_of_the_trainer():
    ds = kd.data.py.DataSource({"x": np.arange(20)}, shuffle=True, batch_size=20)
    trainer = types.SimpleNamespace(seed=5)
    bound = ds.map(lambda batch: batch).update_from_root_cfg(trainer)
    assert _xs(bound.take(1)) == _xs(dataclasses.replace(ds, seed=5).take(1))


def test_streams_say_why_they_cannot_resume():
    stream = iters.NonCheckpointableIterator(_pipeline(), iter([1, 2]))
    with pytest.raises(ValueError, match="stream: its position cannot be restored"):
        stream.set_state(stream.get_state())


def test_model_without_keys_gets_the_whole_batch():
    @dataclasses.dataclass
    class Model:
        def __call__(self, batch):
            return batch

    @dataclasses.dataclass
    class Keyed:
        image: kd.kontext.Key = "batch.x"

        def __call__(self, image):
            return image

    batch = {"x": 1}
    assert kd.data.utils.get_model_inputs_from_batch(Model(), batch) == ((batch,), {})
    assert kd.data.utils.get_model_inputs_from_batch(Keyed(), batch) == (
        (),
        {"image": 1},
    )


def test_texts_are_left_out_of_what_jax_sees():
    ds = kd.data.py.DataSource(
        [{"x": 1.5, "text": f"t{i}"} for i in range(4)], shuffle=False, batch_size=2
    )
    assert next(iter(ds))["text"].tolist() == ["t0", "t1"]
    specs = kd.data.utils.batch_specs(ds.element_spec)
    assert specs == {"x": jax.ShapeDtypeStruct((2,), np.float32)}
    mock = kd.data.utils.mock_batch_from_elem_spec(ds.element_spec)
    np.testing.assert_array_equal(mock["x"], np.zeros(2, np.float32), strict=True)
