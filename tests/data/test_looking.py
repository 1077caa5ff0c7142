"""Tables, pictures, and the time of each stage."""

from __future__ import annotations

import numpy as np
import pytest
from etils import enp

from kauldron import kd


def _pipeline(**kwargs):
    return kd.data.py.DataSource(
        {
            "image": np.full((8, 5, 4, 3), 255, np.uint8),
            "nested": {"id": np.arange(8)},
        },
        shuffle=False,
        batch_size=4,
        seed=0,
        num_epochs=1,
        **kwargs,
    )


def test_batch_is_described_key_by_key():
    lines = kd.data.describe_batch(next(iter(_pipeline()))).splitlines()
    assert lines[1].split() == [
        "image",
        "uint8",
        "(4,",
        "5,",
        "4,",
        "3)",
        "min",
        "255",
        "mean",
        "255",
        "max",
        "255",
    ]
    assert lines[2].split() == ["nested.id", "int64", "(4,)", "0,", "1,", "2,", "3"]


def test_spec_is_described_without_reading_a_batch():
    lines = kd.data.describe_spec(_pipeline().element_spec).splitlines()
    assert lines[1].split() == ["image", "uint8", "(4,", "5,", "4,", "3)"]


def test_picture_shows_each_image():
    picture = np.asarray(kd.data.batch_picture(next(iter(_pipeline())), min_side=10))
    # Magnified by 3; 4 pixels of black after each image and row.
    assert picture.shape == (5 * 3 + 4, 4 * (4 * 3 + 4), 3)
    assert (picture[:15, :12] == 255).all()
    assert (picture[:15, 12:16] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_wide_integers_are_shown_up_to_their_largest_value(dtype):
    image = np.asarray([0, 1024, 2048, 4080], dtype).reshape(1, 2, 2, 1)
    picture = np.asarray(kd.data.batch_picture({"scan": image}, min_side=2))
    # 4080 = 16 * 255: the byte is the value divided by 16.
    assert picture[:2, :2, 0].ravel().tolist() == [0, 64, 128, 255]
    black = kd.data.batch_picture({"scan": np.zeros_like(image)}, min_side=2)
    assert not np.asarray(black).any()


def test_batch_without_images_says_what_it_has():
    with pytest.raises(ValueError, match=r"no images.*\n.*\nlabel"):
        kd.data.batch_picture({"label": np.arange(3)})


def test_bench_times_every_stage():
    ds = _pipeline(
        transforms=[
            kd.data.ValueRange(key="image", vrange=(0, 1)),
            kd.data.Elements(copy={"image": "other"}),
        ]
    )
    report = kd.data.bench(ds, secs=0.05)
    assert list(report.stages) == ["read", "#0 ValueRange", "#1 Elements", "batch"]
    assert all(secs > 0 for secs in report.stages.values())
    assert report.examples_per_sec > 0
    assert "#0 ValueRange" in str(report)


def test_specs_are_printed_with_the_dtypes_of_shape_annotations():
    printed = str(_pipeline().element_spec)
    assert printed == "{'image': u8[4 5 4 3], 'nested': {'id': i64[4]}}"


def test_specs_are_equal_to_those_of_etils():
    spec = _pipeline().element_spec["image"]
    theirs = enp.ArraySpec((4, 5, 4, 3), np.uint8)
    assert isinstance(spec, enp.ArraySpec)
    assert spec == theirs
    assert theirs == spec
    assert hash(theirs) == hash(spec)
    assert spec != enp.ArraySpec((4, 5, 4, 1), np.uint8)
    assert spec != "u8[4 5 4 3]"


def test_batch_of_more_than_there_is_warns_of_the_repetition(capfd):
    ds = kd.data.py.DataSource(
        {"x": np.zeros((1, 2), np.float32)}, shuffle=False, batch_size=4, seed=0
    )
    next(iter(ds))
    assert (
        "`batch_size=4` of `DataSource` is more than its one example: with "
        "`num_epochs=None` every batch has each of them about 4 times."
    ) in capfd.readouterr().err
