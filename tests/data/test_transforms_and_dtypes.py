"""Transforms x dtypes: the right value, or an error that says what does not fit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from kauldron import kd

_BF16 = np.dtype(ml_dtypes.bfloat16)
_INTEGERS = [
    np.dtype(x) for x in ("uint8", "int8", "uint16", "int32", "int64", "uint64")
]
_FLOATS = [np.dtype(x) for x in ("float16", "float32", "float64")] + [_BF16]
_DTYPES = [np.dtype(bool), *_INTEGERS, *_FLOATS]
_NUMBERS = [0, 1, -1, 0.5, -0.5, 1.5, 127, 128, 255, 256, -129, 65504, 70000]
_NUMBERS += [2.0**31 - 1, 2.0**31, 2.0**53, 2.0**63, -(2.0**63), 2.0**64, 1e30, 1e300]
_NUMBERS += [float("nan"), float("inf"), float("-inf")]


def _holds(number, dtype):
    """Returns the number in `dtype`, by Python's exact arithmetic; `None` if it can't."""
    if dtype.kind == "b":
        return number != 0
    if dtype.kind in "iu":
        if not np.isfinite(number):
            return None
        whole, bounds = int(number), np.iinfo(dtype)
        return whole if bounds.min <= whole <= bounds.max else None
    with np.errstate(over="ignore"):
        rounded = float(np.float64(number).astype(dtype))
    return None if np.isfinite(number) and not np.isfinite(rounded) else rounded


@pytest.mark.parametrize("new", _DTYPES, ids=str)
def test_cast_gives_the_number_or_refuses_it(new):
    cast = kd.data.Cast(key="x", dtype=new)
    for old in _DTYPES:
        for number in _NUMBERS:
            with np.errstate(all="ignore"):
                value = np.float64(number).astype(old)
            exact = value.item() if old.kind in "biu" else float(value)
            # Platforms differ in what becomes of a float outside of an integer's range.
            if old.kind in "iu" and exact != number:
                continue
            expected = _holds(exact, new)
            if expected is None:
                with pytest.raises(ValueError, match=f"does not fit into {new}"):
                    cast.map({"x": value})
                continue
            actual = cast.map({"x": value})["x"]
            assert actual.dtype == new
            is_whole = new.kind in "biu"
            np.testing.assert_equal(
                actual.item() if is_whole else float(actual), expected
            )


def test_cast_reads_texts_and_refuses_imaginary_parts():
    texts = np.array(["1.5", "-2"], object)
    actual = kd.data.Cast(key="x", dtype="float32").map({"x": texts})["x"]
    np.testing.assert_array_equal(actual, np.float32([1.5, -2]), strict=True)
    with pytest.raises(ValueError, match="could not convert string to float"):
        kd.data.Cast(key="x", dtype="float32").map({"x": "a"})
    with pytest.raises(ValueError, match="imaginary parts"):
        kd.data.Cast(key="x", dtype="float32").map({"x": np.complex64(1j)})


def test_cast_names_the_value_that_does_not_fit():
    with pytest.raises(
        ValueError, match=r"Cast\('x'\): 300 \(int64\) does not fit into"
    ):
        kd.data.Cast(key="x", dtype="uint8").map({"x": np.array([1, 300, 2])})
    with pytest.raises(ValueError, match=r"nan \(float32\) does not fit into int32"):
        kd.data.Cast(key="x", dtype="int32").map({"x": np.float32([1, np.nan])})


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_tokens_are_padded_only_with_what_their_dtype_holds(dtype):
    tokens = np.array([1, 0]).astype(dtype)
    for pad_id in (0, 1, -1, -100, 300, 70000, 2**40, 0.5, 1e300, float("nan")):
        pad = kd.data.PadOrTruncateTokens(key="x", length=4, pad_id=pad_id)
        held = _holds(pad_id, dtype)
        is_same = held is not None and (dtype in _FLOATS or held == pad_id)
        if is_same:
            actual = pad.map({"x": tokens})["x"]
            assert actual.dtype == dtype
            expected = np.array([1, 0, held, held]).astype(dtype)
            np.testing.assert_array_equal(actual.astype(float), expected.astype(float))
        else:
            with pytest.raises(
                ValueError, match=rf"`pad_id=.*` is no value of {dtype}"
            ):
                pad.map({"x": tokens})
            full = np.ones(4).astype(dtype)
            assert pad.map({"x": full})["x"] is full  # nothing is padded


def test_texts_are_no_tokens():
    pad = kd.data.PadOrTruncateTokens(key="x", length=4)
    with pytest.raises(ValueError, match="works on numbers: got texts"):
        pad.map({"x": ["a", "b"]})


def test_an_empty_list_has_the_dtype_of_its_padding():
    for pad_id, dtype in ((0, np.int64), (0.0, np.float64)):
        pad = kd.data.PadOrTruncateTokens(key="x", length=2, pad_id=pad_id)
        np.testing.assert_array_equal(
            pad.map({"x": []})["x"], np.zeros(2, dtype), strict=True
        )


@pytest.mark.parametrize(
    ("dtype", "value", "is_held"),
    [
        ("uint8", -1, False),
        ("uint8", 255, True),
        ("uint8", 1.5, False),
        ("int32", float("nan"), False),
        ("bool", 1, True),
        ("bool", 2, False),
        ("float16", 1e6, False),
        ("float32", float("nan"), True),
        (_BF16, 1e30, True),
        ("U3", 0, False),
    ],
)
def test_shapes_are_padded_only_with_what_the_dtype_holds(dtype, value, is_held):
    array = np.array([1, 0]).astype(dtype)
    pad = kd.data.PadToShape(key="x", shape=(3,), value=value)
    if is_held:
        actual = pad.map({"x": array})["x"]
        assert actual.dtype == array.dtype
        np.testing.assert_array_equal(actual[2], np.array(value).astype(dtype))
    else:
        with pytest.raises(ValueError, match=r"`value=.*` is no value of"):
            pad.map({"x": array})


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_one_hot_of_class_ids_of_any_dtype(dtype):
    ids = np.array([0, 1, 1]).astype(dtype)
    actual = kd.data.OneHot(key="x", num_classes=300, multi=False).map({"x": ids})["x"]
    np.testing.assert_array_equal(
        actual, np.float32(np.eye(300)[[0, 1, 1]]), strict=True
    )


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (1.5, "whole numbers: got 1.5"),
        ([0.0, float("nan")], "whole numbers: got nan"),
        (-1, r"in \[0, 3\): got -1"),
        (np.uint8(3), r"in \[0, 3\): got 3"),
        (np.uint64(2**64 - 1), r"in \[0, 3\)"),
        ("a", "works on numbers: got texts"),
    ],
)
def test_one_hot_refuses_what_is_no_class(ids, message):
    with pytest.raises(ValueError, match=message):
        kd.data.OneHot(key="x", num_classes=3).map({"x": np.array(ids)})


def test_one_hot_of_equal_values_on_and_off_is_constant():
    one_hot = kd.data.OneHot(key="x", num_classes=2, on=0.5, off=0.5)
    np.testing.assert_array_equal(one_hot.map({"x": [0]})["x"], [0.5, 0.5])


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize("out", ["float16", "float32", "float64", "bfloat16", "int16"])
def test_value_range_of_any_dtype(dtype, out):
    values = np.array([0, 1, 1, 0]).astype(dtype)
    transform = kd.data.ValueRange(
        key="x", vrange=(-10, 20), in_vrange=(0, 1), dtype=out
    )
    actual = transform.map({"x": values})["x"]
    np.testing.assert_array_equal(
        actual, np.array([-10, 20, 20, -10]).astype(actual.dtype)
    )
    assert str(actual.dtype) == out


def test_value_range_refuses_what_its_dtype_does_not_hold():
    with pytest.raises(ValueError, match=r"uint8 cannot hold `vrange=\(0, 256\)`"):
        kd.data.ValueRange(key="x", vrange=(0, 256), dtype=np.uint8)
    unclipped = kd.data.ValueRange(
        key="x", vrange=(0, 255), in_vrange=(0, 1), dtype=np.uint8, clip_values=False
    )
    assert unclipped.map({"x": np.float32(1)})["x"] == 255
    for bad in (1.1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="does not fit into uint8"):
            unclipped.map({"x": np.float32(bad)})
    with pytest.raises(
        ValueError, match=r"ValueRange\('x'\) works on numbers: got texts"
    ):
        unclipped.map({"x": "a"})


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_normalize_of_any_dtype_is_float32(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    transform = kd.data.Normalize(key="x", mean=[0.5, 0.25], std=[2, 4])
    expected = (np.array([[0, 1], [1, 0]]) - [0.5, 0.25]) / [2, 4]
    actual = transform.map({"x": values})["x"]
    np.testing.assert_array_equal(actual, expected.astype(np.float32), strict=True)


def test_normalize_refuses_texts():
    with pytest.raises(ValueError, match="works on numbers: got texts"):
        kd.data.Normalize(key="x", mean=0, std=1).map({"x": np.array(["a"], object)})


@pytest.mark.parametrize(
    "dtype", [*_DTYPES, np.dtype("U1"), np.dtype(complex)], ids=str
)
def test_moving_values_keeps_them_whatever_they_are(dtype):
    values = np.arange(24).reshape(4, 6, 1).astype(dtype)
    element = {"x": values}
    moved = {
        "rearrange": (kd.data.Rearrange(key="x", pattern="h w c -> (w h) c"), None),
        "gather": (kd.data.Gather(key="x", axis=1, indices=[5, 0]), values[:, [5, 0]]),
        "crop": (kd.data.CenterCrop(key="x", shape=(2, 4, None)), values[1:3, 1:5]),
        "nearest": (
            kd.data.Resize(key="x", size=(2, 3), method="nearest"),
            values[1::2, 1::2],
        ),
    }
    for name, (transform, expected) in moved.items():
        if expected is None:
            expected = values.transpose(1, 0, 2).reshape(24, 1)
        np.testing.assert_array_equal(
            transform.map(element)["x"], expected, strict=True, err_msg=name
        )


@pytest.mark.parametrize("dtype", [x for x in _DTYPES if x != np.uint8], ids=str)
def test_rand_augment_takes_bytes_alone(dtype):
    augment = kd.data.RandAugment(key="x")
    image = np.zeros((4, 4, 3), dtype)
    with pytest.raises(ValueError, match=f"RandAugment works on bytes.*{dtype}"):
        augment.random_map({"x": image}, np.random.default_rng(0))


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_color_jitter_takes_bytes_and_floats_alone(dtype):
    jitter = kd.data.ColorJitter(key="x", brightness=0.5)
    image = np.ones((4, 4, 3), dtype)
    rng = np.random.default_rng(0)
    if dtype == np.uint8 or dtype in _FLOATS:
        assert jitter.random_map({"x": image}, rng)["x"].dtype == dtype
    else:
        with pytest.raises(ValueError, match=f"bytes or floats.*{dtype}"):
            jitter.random_map({"x": image}, rng)


@pytest.mark.parametrize("dtype", _FLOATS, ids=str)
def test_mixup_takes_floats_of_any_width(dtype):
    batch = {"image": np.ones((2, 4)).astype(dtype), "label": np.eye(2).astype(dtype)}
    ds = kd.data.py.DataSource(
        batch,
        shuffle=False,
        batch_size=2,
        seed=0,
        transforms=[kd.data.MixUp(alpha=1.0)],
    )
    mixed = next(iter(ds))
    assert mixed["label"].dtype == mixed["image"].dtype == dtype
    # Each label is a mean: its parts add up to one, up to one rounding of each.
    np.testing.assert_allclose(mixed["label"].astype(float).sum(-1), 1, atol=2e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: kd.data.RandAugment(key="x", fill=256),
        lambda: kd.data.RandAugment(key="x", magnitude=30.1),
        lambda: kd.data.RandAugment(key="x", magnitude=-0.1),
        lambda: kd.data.RandAugment(key="x", num_layers=0),
        lambda: kd.data.ColorJitter(key="x", hue=0.6),
    ],
)
def test_options_without_a_meaning_are_refused_when_they_are_written(make):
    with pytest.raises(ValueError, match=r"fill=256|at most 0.5|is in \[0, 30\]"):
        make()


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_resized_images_of_one_value_have_that_value(dtype, method):
    bounds = np.iinfo(dtype)
    # f32 holds neither 2**24 + 1 nor the greatest numbers of 32 bits.
    for value in {bounds.min, bounds.max, min(2**24 + 1, bounds.max)}:
        image = np.full((5, 4, 3), value, dtype)
        resized = kd.data.Resize(key="x", size=(8, 3), method=method)({"x": image})
        assert resized["x"].dtype == dtype
        np.testing.assert_array_equal(resized["x"], value)
