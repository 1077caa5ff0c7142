"""Published configs that say `kd.data.tf` run unchanged, without TensorFlow."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kauldron import kd


def _numbers(start, length, **kwargs):
    return kd.data.py.DataSource(
        {"x": np.arange(start, start + length)}, shuffle=False, **kwargs
    )


def _xs(ds):
    return [int(x) for batch in ds for x in batch["x"].ravel()]


def test_published_vision_pipeline():
    with tfds.testing.mock_data(num_examples=12):
        ds = kd.data.tf.Tfds(
            name="cifar10",
            split="train",
            shuffle=True,
            batch_size=4,
            seed=0,
            num_epochs=1,
            prefetch_size=2,
            cache=True,
            transforms=[
                kd.data.tf.Elements(keep=["image", "label"]),
                kd.data.tf.InceptionCrop(
                    key="image", resize_size=(16, 16), area_range=(0.05, 1.0)
                ),
                kd.data.tf.RandomFlipLeftRight(key="image"),
                kd.data.tf.ValueRange(key="image", vrange=(-1, 1)),
                kd.data.tf.OneHot(key="label", num_classes=10),
            ],
        )
        batches = list(ds)
    assert len(batches) == len(ds) == 3
    assert batches[0]["image"].shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(batches[0]["label"].sum(-1), 1)
    assert "tensorflow" not in sys.modules


def test_published_evaluation_transforms():
    ds = kd.data.py.DataSource(
        {"image": np.zeros((4, 20, 30, 3), np.uint8)},
        shuffle=False,
        batch_size=4,
        transforms=[
            kd.data.tf.ResizeSmall(key="image", smaller_size=10),
            kd.data.tf.CenterCrop(key="image", shape=(8, 8, 3)),
            kd.data.tf.Resize(key="image", height=5, width=6),
        ],
    )
    assert ds.element_spec["image"].shape == (4, 5, 6, 3)


def test_sample_from_datasets_is_endless_if_a_member_is():
    common = {"batch_size": 2, "seed": 0}
    members = [_numbers(0, 4), _numbers(100, 8)]
    assert kd.data.tf.SampleFromDatasets(members, **common).is_endless
    finite = [_numbers(0, 4, num_epochs=1), _numbers(100, 8, num_epochs=1)]
    everything = kd.data.tf.SampleFromDatasets(finite, **common)
    assert sorted(_xs(everything)) == [*range(4), *range(100, 108)]
    stopping = kd.data.tf.SampleFromDatasets(
        finite, stop_on_empty_dataset=True, **common
    )
    assert len(_xs(stopping)) == 8


def test_zipped_datasets_stand_side_by_side():
    ds = kd.data.tf.ZipDatasets(
        {"a": _numbers(0, 5), "b": _numbers(100, 4)},
        batch_size=2,
        num_epochs=1,
        seed=0,
    )
    batches = list(ds)
    assert [b["a"]["x"].tolist() for b in batches] == [[0, 1], [2, 3]]
    assert [b["b"]["x"].tolist() for b in batches] == [[100, 101], [102, 103]]
    assert ds.element_spec["a"]["x"].shape == (2,)


def test_element_spec_dataset_is_one_batch_of_zeros():
    spec = kd.data.py.DataSource(
        {"x": np.ones((4, 3), np.float32)}, shuffle=False, batch_size=2
    ).element_spec
    ds = kd.data.tf.ElementSpecDataset(spec)
    (batch,) = list(ds)
    np.testing.assert_array_equal(batch["x"], np.zeros((2, 3), np.float32), strict=True)
    with pytest.raises(ValueError, match="leave out `batch_size`"):
        kd.data.tf.ElementSpecDataset(spec, batch_size=2)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("TFDataPipeline", "kd.data.py.DataSourceBase"),
        ("WithShuffleBuffer", "kd.data.py.DataSourceBase"),
        ("SeqIOTask", "kd.data.py.ArrayRecord"),
        ("SeqIOMixture", "kd.data.py.Mix"),
        ("ElementWiseRandomTransform", "kd.data.py.ElementWiseRandomTransform"),
    ],
)
def test_what_needs_tensorflow_says_what_to_use(name, instead):
    unavailable = getattr(kd.data.tf, name)
    with pytest.raises(NotImplementedError, match=instead):
        unavailable(key="x")
    with pytest.raises(NotImplementedError, match=instead):
        type("Mine", (unavailable,), {})


def test_tf_data_options_say_what_to_write():
    with pytest.raises(NotImplementedError, match="num_workers"):
        kd.data.tf.Tfds("mnist", split="train", tf_data_options=object())
