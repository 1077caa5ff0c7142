"""Transforms of values and keys, against NumPy and JAX."""

from __future__ import annotations

import dataclasses
import pickle

import einops
import jax
import numpy as np
import pytest

from kauldron import kd
from kauldron.data import _columns

_RNG = np.random.default_rng(0)
_BYTES = _RNG.integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
_FLOATS = _RNG.normal(size=(5, 8, 6, 3)).astype(np.float32)
_LABELS = np.array([3, 0, 9, 2, 2])

# One line for each deterministic transform: what it does to one element it must do to
# many at once.
_MEMBERS = [
    (kd.data.Elements(keep=["label"], copy={"image": "same"}), "bytes"),
    (kd.data.Elements(drop=["label"], rename={"image": "picture"}), "bytes"),
    (kd.data.AddConstants(values={"weight": 0.5, "v": np.arange(3)}), "bytes"),
    (kd.data.Stack(keys=["label", "label"], to="pair"), "bytes"),
    (kd.data.Cast(key="image", dtype="float16"), "bytes"),
    (kd.data.Cast(key=["image", "label"], dtype=np.int32), "bytes"),
    (kd.data.ValueRange(key="image", vrange=(-1, 1)), "bytes"),
    (kd.data.ValueRange(key="image", vrange=(0, 1), in_vrange=(-1, 1)), "floats"),
    (kd.data.ValueRange(key={"label": "share"}, vrange=(0, 1)), "bytes"),
    (kd.data.Rearrange(key="image", pattern="h w c -> (w h) c"), "bytes"),
    (kd.data.Rearrange(key="label", pattern="... -> ... 1"), "bytes"),
    (
        kd.data.Rearrange(
            key="image",
            pattern="(h p) (w q) row -> h w (p q row)",
            axes_lengths={"p": 4, "q": 3},
        ),
        "bytes",
    ),
    (kd.data.Gather(key="image", axis=2, indices=[2, 0]), "bytes"),
    (kd.data.Gather(key="image", axis=-1, indices=1), "bytes"),
    (kd.data.Normalize(key="image", mean=[1, 2, 3], std=[4, 5, 6]), "bytes"),
    (kd.data.OneHot(key="label", num_classes=10), "bytes"),
    (kd.data.Resize(key="image", size=(4, 9)), "floats"),
    (kd.data.Resize(key="image", size=5), "bytes"),
    (kd.data.Resize(key="image", min_size=12, method="bicubic"), "bytes"),
    (kd.data.Resize(key="image", max_size=4, antialias=False), "floats"),
    (kd.data.ResizeSmall(key="image", smaller_size=3), "floats"),
    (kd.data.CenterCrop(key="image", shape=(3, None, 3)), "bytes"),
    (kd.data.PadToShape(key="image", shape=(9, None, 4), mask_key="mask"), "bytes"),
    (kd.data.PadOrTruncateTokens(key="image", length=6), "bytes"),
]


def _columns_of(kind):
    return {"image": _BYTES if kind == "bytes" else _FLOATS, "label": _LABELS}


@pytest.mark.parametrize(("transform", "kind"), _MEMBERS)
def test_many_elements_at_once_become_what_each_becomes_alone(transform, kind):
    columns = _columns_of(kind)
    one_by_one = [transform.map(row) for row in _columns.rows(columns)]
    expected = _columns.stack(_columns.from_rows(one_by_one))
    ds = kd.data.py.DataSource(
        columns, shuffle=False, batch_size=5, seed=0, transforms=[transform]
    )
    actual = next(iter(ds))
    assert list(actual) == list(expected)
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value, strict=True)


@pytest.mark.parametrize(("transform", "kind"), _MEMBERS)
def test_transforms_do_not_change_their_input_and_can_be_pickled(transform, kind):
    element = _columns.row(_columns_of(kind), 0)
    before = {k: np.copy(v) for k, v in element.items()}
    pickle.loads(pickle.dumps(transform)).map(element)
    for key, value in before.items():
        np.testing.assert_array_equal(element[key], value)
    assert element.keys() == before.keys()


def test_value_range_is_linear_and_clips():
    transform = kd.data.ValueRange(key="x", vrange=(-1, 1), in_vrange=(0, 10))
    x = np.array([-5.0, 0.0, 2.5, 10.0, 20.0])
    actual = transform.map({"x": x})["x"]
    np.testing.assert_array_equal(actual, np.float32([-1, -1, -0.5, 1, 1]), strict=True)
    unclipped = dataclasses.replace(transform, clip_values=False)
    np.testing.assert_allclose(unclipped.map({"x": x})["x"], x / 5 - 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("in_vrange", "expected"),
    [((0, 100), [0, 0.5, 1]), ((50, 255), [0, 0, 150 / 205]), ((100, 0), [1, 0.5, 0])],
)
def test_value_range_clips_bytes_that_leave_a_part_of_their_range(in_vrange, expected):
    transform = kd.data.ValueRange(key="x", vrange=(0, 1), in_vrange=in_vrange)
    values = np.array([0, 50, 200], np.uint8)
    # One rounding of the factor and one of the sum, in f32.
    np.testing.assert_allclose(transform.map_element(values), expected, atol=1e-6)
    np.testing.assert_allclose(
        transform.map_batch(values[None])[0], expected, atol=1e-6
    )


def test_value_range_rounds_to_the_nearest_integer():
    values = np.array([0, 0.301, 0.999, 1], np.float32)  # times 255: 76.8, 254.7
    transform = kd.data.ValueRange(
        key="x", vrange=(0, 255), in_vrange=(0, 1), dtype=np.uint8
    )
    assert transform.map_element(values).tolist() == [0, 77, 255, 255]


def test_value_range_of_bytes_is_division_by_255():
    all_bytes = np.arange(256, dtype=np.uint8)
    actual = kd.data.ValueRange(key="x", vrange=(0, 1)).map({"x": all_bytes})["x"]
    # One rounding of the factor and one of the product.
    np.testing.assert_allclose(actual, np.arange(256) / 255, rtol=2e-7)
    assert actual.min() == 0
    assert actual.max() == 1


def test_cast_knows_bfloat16():
    assert (
        kd.data.Cast(key="x", dtype="bfloat16").map({"x": 1})["x"].dtype == "bfloat16"
    )
    with pytest.raises(ValueError, match=r"'flaot32' is no dtype"):
        kd.data.Cast(key="x", dtype="flaot32").map({"x": 1})


def test_rearrange_is_einops():
    pattern = "h w c -> c (h w)"
    actual = kd.data.Rearrange(key="image", pattern=pattern).map({"image": _BYTES[0]})
    np.testing.assert_array_equal(
        actual["image"], einops.rearrange(_BYTES[0], pattern), strict=True
    )


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize("size", [(4, 3), (16, 12), (5, 7), (8, 9)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resize_agrees_with_jax(method, size, antialias):
    transform = kd.data.Resize(
        key="image", size=size, method=method, antialias=antialias
    )
    actual = transform.map({"image": _FLOATS})["image"]
    expected = jax.image.resize(
        _FLOATS, (5, *size, 3), method=method, antialias=antialias
    )
    # Sums of up to 36 f32 products in another order.
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3"])
def test_resized_bytes_are_the_rounded_floats(method):
    transform = kd.data.Resize(key="image", size=(5, 4), method=method)
    as_bytes = transform.map({"image": _BYTES})["image"]
    as_floats = transform.map({"image": _BYTES.astype(np.float32)})["image"]
    assert as_bytes.dtype == np.uint8
    # Pillow rounds after each axis.
    assert np.abs(as_bytes - as_floats.clip(0, 255)).max() <= 1.01


def test_area_resize_is_the_mean_of_blocks():
    actual = kd.data.Resize(key="image", size=(4, 2), method="area").map(
        {"image": _FLOATS}
    )["image"]
    expected = einops.reduce(_FLOATS, "b (h p) (w q) c -> b h w c", "mean", p=2, q=3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_labels_are_resized_without_new_values():
    labels = _RNG.integers(0, 4, (8, 8, 1)) * 10
    actual = kd.data.Resize(key="m", size=(5, 13)).map({"m": labels})["m"]
    assert actual.dtype == labels.dtype
    assert set(np.unique(actual)) <= {0, 10, 20, 30}


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"min_size": 3}, (4, 3, 3)),
        ({"max_size": 4}, (4, 3, 3)),
        ({"size": (2, 7)}, (2, 7, 3)),
    ],
)
def test_resize_keeps_the_aspect_ratio_unless_both_sides_are_given(kwargs, expected):
    actual = kd.data.Resize(key="image", **kwargs).map({"image": _BYTES[0]})
    assert actual["image"].shape == expected


def test_center_crop_of_an_odd_rest_leaves_out_one_more_at_the_end():
    crop = kd.data.CenterCrop(key="x", shape=(4,))
    assert crop.map_element(np.arange(7)).tolist() == [1, 2, 3, 4]
    assert crop.map_element(np.arange(8)).tolist() == [2, 3, 4, 5]
    assert crop.map_batch(np.arange(7)[None]).tolist() == [[1, 2, 3, 4]]


def test_resize_needs_exactly_one_size():
    with pytest.raises(ValueError, match=r"exactly one of.*got none"):
        kd.data.Resize(key="image")
    with pytest.raises(ValueError, match="exactly one of"):
        kd.data.Resize(key="image", size=3, min_size=4)


def test_one_hot_of_a_list_has_several_hits():
    multi = kd.data.OneHot(key="ids", num_classes=4)
    np.testing.assert_array_equal(multi.map({"ids": [0, 2]})["ids"], [1, 0, 1, 0])
    each = kd.data.OneHot(key="ids", num_classes=4, multi=False, on=0.9, off=0.1)
    np.testing.assert_allclose(
        each.map({"ids": [3]})["ids"], [[0.1, 0.1, 0.1, 0.9]], rtol=1e-6
    )
    with pytest.raises(ValueError, match=r"in \[0, 4\): got 4 to 4"):
        multi.map({"ids": 4})


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"keep": ["a"], "drop": ["b"]}, ValueError, "not both"),
        ({"keep": ["a"], "rename": {"a": "b"}}, KeyError, "both in `keep`"),
        ({"copy": {"a": "x", "b": "x"}}, ValueError, "same name in `copy`"),
        ({"keep": "image"}, ValueError, "is a list of keys"),
    ],
)
def test_contradictions_of_elements_are_reported_at_construction(
    kwargs, error, message
):
    with pytest.raises(error, match=message):
        kd.data.Elements(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"keep": ["imgae"]}, r"no key 'imgae'. Did you mean 'image'"),
        ({"rename": {"image": "label"}}, r"overwrite the key 'label'"),
        ({"copy": {"image": "label"}}, r"overwrite the key 'label'"),
        ({"copy": {"image": "x"}, "rename": {"label": "x"}}, r"overwrite the key 'x'"),
    ],
)
def test_elements_never_overwrites_or_guesses(kwargs, message):
    with pytest.raises(KeyError, match=message):
        kd.data.Elements(**kwargs).map({"image": 1, "label": 2})


def test_elements_composes_keep_rename_and_copy():
    transform = kd.data.Elements(
        keep=["a"], rename={"b": "renamed"}, copy={"c": "copied"}
    )
    actual = transform.map({"a": 1, "b": 2, "c": 3, "d": 4})
    assert actual == {"a": 1, "renamed": 2, "copied": 3}


def test_flattened_tree_is_named_by_its_paths():
    transform = kd.data.TreeFlattenWithPath(key="tree")
    actual = transform.map({"tree": {"a": {"b": [1, 2]}, "c": 3}, "x": 4})
    assert actual == {"x": 4, "tree_a_b_0": 1, "tree_a_b_1": 2, "tree_c": 3}


def test_padding_to_nothing_is_refused_if_there_is_something():
    pad = kd.data.PadToShape(key="x", shape=(0, None))
    assert pad.map_element(np.ones((0, 3))).shape == (0, 3)
    with pytest.raises(ValueError, match=r"\(2, 3\) is larger than \(0, 3\)"):
        pad.map_element(np.ones((2, 3)))


def test_padding_says_what_was_data():
    transform = kd.data.PadToShape(key="x", shape=(4,), value=7, mask_key="m")
    actual = transform.map({"x": np.array([1, 2])})
    np.testing.assert_array_equal(actual["x"], [1, 2, 7, 7])
    np.testing.assert_array_equal(actual["m"], [True, True, False, False])
    with pytest.raises(ValueError, match=r"\(5,\) is larger than \(4,\)"):
        transform.map({"x": np.zeros(5)})


def test_one_mask_is_for_sequences_of_one_length():
    transform = kd.data.PadOrTruncateTokens(
        key={"a": "a", "b": "b"}, length=4, mask_key="mask"
    )
    padded = transform({"a": [1, 2], "b": [3, 4]})
    assert padded["mask"].tolist() == [True, True, False, False]
    assert [padded[k].tolist() for k in "ab"] == [[1, 2, 0, 0], [3, 4, 0, 0]]
    with pytest.raises(ValueError, match=r"different lengths in one element: \[1, 2\]"):
        transform({"a": [1, 2], "b": [3]})


def test_tokens_are_padded_or_truncated_at_the_asked_end():
    right = kd.data.PadOrTruncateTokens(key="t", length=3, pad_id=-1, mask_key="m")
    assert right.map({"t": [5, 6]})["t"].tolist() == [5, 6, -1]
    assert right.map({"t": [5, 6]})["m"].tolist() == [True, True, False]
    assert right.map({"t": [5, 6, 7, 8]})["t"].tolist() == [5, 6, 7]
    left = kd.data.PadOrTruncateTokens(key="t", length=3, truncate="left")
    assert left.map({"t": [5, 6, 7, 8]})["t"].tolist() == [6, 7, 8]
    with pytest.raises(ValueError, match="has 4 tokens, more than 3"):
        dataclasses.replace(left, truncate="error").map({"t": [5, 6, 7, 8]})


def test_own_transform_of_the_published_api_works():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Scale(kd.data.ElementWiseTransform):
        factor: float

        def map_element(self, element):
            return element * self.factor

    ds = kd.data.py.DataSource(
        _columns_of("floats"),
        shuffle=False,
        batch_size=5,
        transforms=[Scale(key={"image": "scaled"}, factor=2.0)],
    )
    batch = next(iter(ds))
    np.testing.assert_array_equal(batch["scaled"], batch["image"] * 2)


def test_subclass_of_a_vectorised_transform_gets_its_own_map_element():
    class Shifted(kd.data.ValueRange):
        def map_element(self, element):
            return super().map_element(element) + 100

    ds = kd.data.py.DataSource(
        _columns_of("bytes"),
        shuffle=False,
        batch_size=5,
        transforms=[Shifted(key="image", vrange=(0, 1))],
    )
    assert next(iter(ds))["image"].min() >= 100


def test_empty_key_is_reported():
    with pytest.raises(KeyError, match="`key` is empty"):
        kd.data.Cast(key=[], dtype="int32")
    with pytest.raises(KeyError, match="`key` is empty"):
        kd.data.Cast(key="", dtype="int32")


def test_what_is_no_transform_is_reported_at_construction():
    with pytest.raises(ValueError, match="transform #0, `int`"):
        kd.data.py.DataSource([1], shuffle=False, transforms=[3])


def test_grain_transforms_work():
    import grain

    class AddOne(grain.transforms.Map):
        def map(self, element):
            return element + 1

    class Even(grain.transforms.Filter):
        def filter(self, element):
            return element % 2 == 0

    class Index(grain.transforms.MapWithIndex):
        def map_with_index(self, index, element):
            return {"index": index, "x": element}

    class Noise(grain.transforms.RandomMap):
        def random_map(self, element, rng):
            return {**element, "noise": rng.normal()}

    ds = kd.data.py.DataSource(
        np.arange(8),
        shuffle=False,
        batch_size=2,
        num_epochs=1,
        seed=0,
        transforms=[AddOne(), Even(), Index(), Noise()],
    )
    batches = list(ds)
    assert [b["x"].tolist() for b in batches] == [[2, 4], [6, 8]]
    assert [b["index"].tolist() for b in batches] == [[1, 3], [5, 7]]
    assert len({b["noise"][0] for b in batches}) == 2
    with pytest.raises(ValueError, match=r"set `batch_size=4` of the pipeline"):
        kd.data.py.DataSource(
            [1], shuffle=False, transforms=[grain.transforms.Batch(4)]
        )


def test_columns_are_stacked_in_the_order_of_their_keys():
    stack = kd.data.Stack(keys=["b", "a"], to="x")
    found = stack.map({"a": 1, "b": 2.5})
    assert list(found) == ["a", "b", "x"]
    np.testing.assert_array_equal(found["x"], np.float32([2.5, 1]), strict=True)
    with pytest.raises(kd.data.DataKeyError, match=r"Stack.*'b'"):
        stack.map({"a": 1})
    with pytest.raises(kd.data.DataKeyError, match="'x' exists already"):
        stack.map({"a": 1, "b": 2, "x": 3})
    with pytest.raises(kd.data.DataError, match="one or more keys: got 'ab'"):
        kd.data.Stack(keys="ab", to="x")
    with pytest.raises(ValueError, match="same shape"):
        stack.map({"a": np.zeros(2), "b": np.zeros(3)})
