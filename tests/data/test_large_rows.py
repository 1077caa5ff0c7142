"""Large rows go through transforms a few at a time, which nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd

_NUM_EXAMPLES, _BATCH_SIZE = 60, 20


class Pictures:
    """Pictures of about 1 MB, each of another size, read one by one."""

    def __init__(self, make=None):
        self._make = make

    def __len__(self):
        return _NUM_EXAMPLES

    def __getitem__(self, index):
        if self._make is not None:
            return self._make(index)
        rng = np.random.default_rng(index)
        shape = (500 + index, 600, 3)
        return {"image": rng.integers(0, 256, shape, dtype=np.uint8), "label": index}


class Sparse(kd.data.FilterTransform):
    def filter(self, element):
        return element["label"] % 7 != 3


def _pipeline(source, transforms, **kwargs):
    return kd.data.py.DataSource(
        source,
        shuffle=True,
        batch_size=_BATCH_SIZE,
        seed=0,
        num_epochs=1,
        num_workers=0,
        transforms=transforms,
        **kwargs,
    )


_CROPS = (
    kd.data.RandomResizedCrop(key="image", size=64),
    kd.data.RandomFlipLeftRight(key="image"),
    kd.data.ValueRange(key="image", vrange=(0, 1)),
)


@pytest.mark.parametrize("is_in_memory", [False, True])
def test_every_batch_is_the_one_that_its_index_gives(is_in_memory):
    source = Pictures()
    if is_in_memory:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (_NUM_EXAMPLES, 300, 400, 3), dtype=np.uint8)
        source = {"image": images, "label": np.arange(_NUM_EXAMPLES)}
    ds = _pipeline(source, _CROPS)
    batches = list(ds)
    assert len(batches) == 3
    for index, batch in enumerate(batches):
        alone = ds[index]  # made by an object of its own, all rows at once
        np.testing.assert_array_equal(batch["label"], alone["label"])
        np.testing.assert_array_equal(batch["image"], alone["image"])


def test_what_filters_keep_is_every_example_once():
    ds = _pipeline(Pictures(), [Sparse(), *_CROPS], batch_drop_remainder=False)
    labels = np.concatenate([batch["label"] for batch in ds])
    assert sorted(labels) == [i for i in range(_NUM_EXAMPLES) if i % 7 != 3]


def test_transforms_get_a_few_rows_at_a_time():
    sizes = []

    class Noted(kd.data.RandomFlipLeftRight):
        def random_columns(self, columns, draws):
            sizes.append(len(draws))
            return super().random_columns(columns, draws)

    batches = iter(_pipeline(Pictures(), [Noted(key="image"), *_CROPS]))
    next(batches)
    sizes.clear()
    next(batches)
    assert sum(sizes) == _BATCH_SIZE
    assert max(sizes) < _BATCH_SIZE / 2


def _with_another_key(index):
    image = np.zeros((600, 600, 3), np.uint8)
    return {"image": image, "mask" if index == 41 else "label": index}


def _of_another_shape(index):
    return {"image": np.zeros((600, 600 + (index == 41), 3), np.uint8)}


@pytest.mark.parametrize("make", [_with_another_key, _of_another_shape])
def test_rows_that_differ_are_named_by_their_examples(make):
    identity = kd.data.ValueRange(key="image", vrange=(0, 255), dtype="uint8")
    with pytest.raises(kd.data.DataError, match=r"example \d+ .*example 41|example 41"):
        list(_pipeline(Pictures(make), [identity]))
