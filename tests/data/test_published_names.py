"""Published names and arguments, and grain's view of our transforms."""

from __future__ import annotations

import grain
import numpy as np
import pytest
from etils import enp

from kauldron import kd


def test_transforms_are_those_of_grain():
    import grain.python as grain_python

    assert issubclass(kd.data.Elements, grain_python.MapTransform)
    assert issubclass(kd.data.FilterTransform, grain_python.FilterTransform)
    assert issubclass(kd.data.py.RandomCrop, grain_python.RandomMapTransform)
    assert not issubclass(kd.data.py.RandomCrop, grain_python.MapTransform)
    assert not issubclass(kd.data.MixUp, grain_python.MapTransform)


def test_grain_datasets_take_our_transforms():
    class IsEven(kd.data.FilterTransform):
        def filter(self, element):
            return element["x"] % 2 == 0

    image = np.arange(64).reshape(8, 8, 1)
    source = [{"x": i, "image": image + i} for i in range(4)]
    ds = grain.MapDataset.source(source).seed(1)
    mapped = ds.map(kd.data.py.Cast(key="x", dtype="float32"))
    assert mapped[3]["x"] == np.float32(3)
    crop = kd.data.py.RandomCrop(key="image", shape=(4, 4, 1))
    cropped = ds.random_map(crop)[0]["image"]
    top, left = divmod(int(cropped[0, 0, 0]), 8)
    np.testing.assert_array_equal(cropped, image[top : top + 4, left : left + 4])
    assert [ds.filter(IsEven())[i] is None for i in range(4)] == [0, 1, 0, 1]


def test_transforms_are_functions_of_an_element():
    cast = kd.data.Cast(key="x", dtype="int32")
    assert cast({"x": 2.0}) == cast.map(features={"x": 2.0}) == {"x": 2}
    flip = kd.data.RandomFlipUpDown(key="x")
    element = {"x": np.arange(6).reshape(3, 2, 1)}
    first, again = (flip(element, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first["x"], again["x"])


def test_a_copy_and_a_new_name_cannot_be_one():
    with pytest.raises(KeyError, match="overwrite the key 'oops'"):
        kd.data.py.Elements(copy={"old": "oops"}, rename={"yes": "oops"})


def _in_memory(**fields):
    return kd.data.InMemoryPipeline(
        loader=lambda: {"x": np.arange(10) * 7}, batch_size=4, seed=3, **fields
    )


def test_in_memory_pipelines_tell_their_rows():
    ds = _in_memory(shuffle=True, num_epochs=2)
    np.testing.assert_array_equal(ds.examples["x"], np.arange(10) * 7)
    assert ds.num_examples == 10
    batches = [batch["x"] for batch in ds.iter()]
    np.testing.assert_array_equal(batches, [batch["x"] for batch in ds])
    np.testing.assert_array_equal([rows * 7 for rows in ds.sampler()], batches)


def test_the_sampler_of_a_part_gives_rows_of_that_part():
    ds = _in_memory(num_epochs=1, transforms=[kd.data.py.SliceDataset(6, None)])
    assert [rows.tolist() for rows in ds.sampler()] == [[6, 7, 8, 9]]


def test_published_names_of_arguments():
    ds = _in_memory(num_epochs=1)
    doubled = ds.map(map_fn=lambda batch: {"x": batch["x"] * 2}).take(num_examples=1)
    assert [batch["x"].tolist() for batch in doubled] == [[0, 14, 28, 42]]
    spec = {"x": enp.ArraySpec((4,), np.int32)}
    assert kd.data.utils.get_global_elem_spec(per_host_elem_spec=spec) == spec


def test_utilities_for_specs():
    zeros = kd.data.utils.array_spec_to_jnp_empty(enp.ArraySpec((2, 3), np.float32))
    assert (zeros.shape, zeros.dtype) == ((2, 3), np.float32)
    assert kd.data.utils.BatchSize is kd.data.BatchSize
    assert kd.data.utils.Args
    assert kd.data.utils.Kwargs


def test_an_iterator_of_grain_is_saved_and_continued():
    ds = grain.MapDataset.range(6).to_iter_dataset()
    batches = kd.data.iters.PyGrainIterator(source=None, iter=iter(ds))
    assert [next(batches), next(batches)] == [0, 1]
    state = batches.get_state()
    rest = list(batches)
    resumed = kd.data.iters.PyGrainIterator(source=None, iter=iter(ds))
    resumed.set_state(state)
    assert list(resumed) == rest == [2, 3, 4, 5]


def test_what_needs_tensorflow_says_so():
    with pytest.raises(ValueError, match="needs TensorFlow"):
        kd.data.iters.TFDataIterator(source=None, iter=None)
    with pytest.raises(NotImplementedError, match="ds_with_transforms"):
        kd.data.tf.Tfds("mnist", split="train").transform_ds(None)
    with pytest.raises(NotImplementedError, match="tf_data_options"):
        kd.data.tf.ElementSpecDataset(spec={}, tf_data_options=1)


def test_the_batch_of_a_spec_goes_through_transforms():
    ds = kd.data.tf.ElementSpecDataset(
        spec={"x": enp.ArraySpec((4, 2), np.uint8)},
        transforms={"range": kd.data.ValueRange(key="x", vrange=(-1, 1))},
        prefetch_size=2,
        checkpoint=False,
    )
    (batch,) = ds
    np.testing.assert_array_equal(
        batch["x"], np.full((4, 2), -1, np.float32), strict=True
    )
    assert ds.element_spec["x"] == enp.ArraySpec((4, 2), np.float32)
