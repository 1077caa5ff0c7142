"""Transforms of contrib against arrays worked out by hand, NumPy and SciPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from kauldron import kd

D = kd.contrib.data
RNG = np.random.default_rng(0)


def _map(transform, value, key="x"):
    return transform.map({key: value, "other": 1})[key]


def _random_map(transform, element, seed=0):
    return transform.random_map(element, np.random.default_rng(seed))


def test_values_are_scaled_and_shifted_in_f32():
    value = np.array([[0, 100, 200]], np.uint8)
    scaled = _map(D.Scale(key="x", factor=[2, 3, 0.5]), value)
    np.testing.assert_array_equal(scaled, [[0, 300, 100]])
    assert scaled.dtype == np.float32
    shifted = _map(D.AddBias(key="x", bias=-1.5), value)
    np.testing.assert_array_equal(shifted, [[-1.5, 98.5, 198.5]])
    assert _map(D.AddBias(key="x", bias=1), np.zeros(2)).dtype == np.float64


def test_standardized_values_have_mean_zero_and_deviation_one():
    value = np.array([[1, 3], [5, 7]], np.uint8)
    result = _map(D.Standardize(key="x"), value)
    np.testing.assert_allclose(result, (value - 4.0) / np.sqrt(5), rtol=1e-6)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(_map(D.Standardize(key="x"), np.full(4, 9)), 0)
    large = _map(D.Standardize(key="x"), RNG.integers(250, 256, (512, 512), np.uint8))
    assert abs(large.mean(dtype=np.float64)) < 1e-6


@pytest.mark.parametrize("sigma", [0.5, 1.3])
def test_blurring_is_that_of_scipy(sigma):
    image = RNG.random((9, 12, 3)).astype(np.float32)
    blur = D.GaussianBlur(key="x", sigma=sigma)
    expected = ndimage.gaussian_filter(
        image.astype(np.float64),
        sigma=(sigma, sigma, 0),
        mode="mirror",
        radius=(int(np.ceil(3 * sigma)),) * 2 + (0,),
    )
    result = _random_map(blur, {"x": image})["x"]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_blurring_is_the_same_for_all_keys_and_keeps_the_dtype():
    image = RNG.integers(0, 256, (2, 8, 8, 1), np.uint8)
    blur = D.GaussianBlur(key=["a", "b"], sigma=(0.5, 2.0))
    result = _random_map(blur, {"a": image, "b": image})
    np.testing.assert_array_equal(result["a"], result["b"])
    assert result["a"].dtype == np.uint8 and not np.array_equal(result["a"], image)
    assert not np.array_equal(_random_map(blur, {"a": image}, seed=1)["a"], result["a"])
    never = D.GaussianBlur(key="a", probability=0.0)
    np.testing.assert_array_equal(_random_map(never, {"a": image})["a"], image)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"sigma": 0}, "0 < low <= high"),
        ({"sigma": (2, 1)}, "0 < low <= high"),
        ({"kernel_size": 4}, "is odd"),
        ({"probability": 1.5}, "in \\[0, 1\\]"),
    ],
)
def test_bad_parameters_of_blurring_are_told_at_once(kwargs, words):
    with pytest.raises(kd.data.DataError, match=words):
        D.GaussianBlur(key="x", **kwargs)


def test_the_first_axis_is_cut_or_padded():
    pad = D.PadFirstDimensionToFixedSize(key="x", size=3, value=-1)
    np.testing.assert_array_equal(_map(pad, np.array([[1], [2]])), [[1], [2], [-1]])
    np.testing.assert_array_equal(_map(pad, np.arange(5)), [0, 1, 2])
    with pytest.raises(kd.data.DataError, match="scalar"):
        _map(pad, 3)


def test_axes_are_padded_to_multiples():
    pad = D.PadToMultiple(key="x", multiples=(2, None, 4))
    result = _map(pad, np.ones((3, 3, 4, 2)))
    assert result.shape == (4, 3, 4, 2) and result.sum() == 3 * 3 * 4 * 2
    assert result[3].sum() == 0
    with pytest.raises(kd.data.DataError, match="has 3 axes, the array has 1"):
        _map(pad, np.ones(3))


def test_images_are_padded_around_their_middle():
    pad = D.py.PadImage(key="x", shape=(4, 3), value=7)
    result = _map(pad, np.zeros((1, 2, 1), np.uint8))
    expected = [[7, 7, 7], [0, 0, 7], [7, 7, 7], [7, 7, 7]]
    np.testing.assert_array_equal(result[..., 0], expected)
    assert result.dtype == np.uint8
    with pytest.raises(kd.data.DataError, match="does not fit into"):
        _map(pad, np.zeros((5, 2, 1)))


VIDEO = np.arange(10)  # ten frames without pixels


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (D.FirstClip(key="x", num_frames=3), [0, 1, 2]),
        (D.FirstClip(key="x", num_frames=3, stride=3), [0, 3, 6]),
        (D.MiddleClip(key="x", num_frames=4), [3, 4, 5, 6]),
        (D.MiddleClip(key="x", num_frames=2, stride=4), [2, 6]),
        (D.MultiClip(key="x", num_frames=2, num_clips=3), [[0, 1], [4, 5], [8, 9]]),
        (D.MultiClip(key="x", num_frames=2, num_clips=1), [[4, 5]]),
        (D.FirstClip(key="x", num_frames=10), list(range(10))),
    ],
)
def test_frames_are_taken(transform, expected):
    np.testing.assert_array_equal(_map(transform, VIDEO), expected)


def test_random_clips_are_everywhere_and_the_same_for_all_keys():
    clip = D.RandomClip(key=["a", "b"], num_frames=3, stride=2)
    starts = set()
    for seed in range(60):
        result = _random_map(clip, {"a": VIDEO, "b": 10 * VIDEO}, seed)
        first = int(result["a"][0])
        np.testing.assert_array_equal(result["a"], [first, first + 2, first + 4])
        np.testing.assert_array_equal(result["b"], 10 * result["a"])
        starts.add(first)
    assert starts == set(range(6))


@pytest.mark.parametrize("cls", [D.FirstClip, D.MiddleClip, D.RandomClip])
def test_too_short_videos_and_bad_parameters_are_told(cls):
    clip = cls(key="x", num_frames=4, stride=3)  # needs 10
    run = clip.map if hasattr(clip, "map") else lambda x: _random_map(clip, x)
    run({"x": VIDEO})
    with pytest.raises(kd.data.DataError, match="need 10 frames: there are 9"):
        run({"x": VIDEO[1:]})
    with pytest.raises(kd.data.DataError, match="at least 1"):
        cls(key="x", num_frames=0)


def test_frames_are_repeated_from_the_beginning():
    repeat = D.RepeatFrames(key="x", min_frames=5)
    np.testing.assert_array_equal(_map(repeat, np.array([1, 2])), [1, 2, 1, 2, 1])
    np.testing.assert_array_equal(_map(repeat, np.arange(7)), np.arange(7))


def test_blocks_of_videos_become_channels():
    video = np.arange(2 * 2 * 4).reshape(2, 2, 4, 1)  # t h w c
    result = _map(
        D.SpacetimeToDepth(key="x", temporal_block_size=2, spatial_block_size=2), video
    )
    # In the order time, height, width: frame 0 holds 0..7, its left block 0 1 4 5.
    expected = [[[[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]]]
    np.testing.assert_array_equal(result, expected)
    with pytest.raises(kd.data.DataError, match="do not fill"):
        _map(D.SpacetimeToDepth(key="x", spatial_block_size=3), video)


def test_frames_are_laid_below_each_other():
    video = np.arange(8).reshape(2, 2, 2, 1)
    result = _map(D.FlattenVideo(key="x"), video)
    np.testing.assert_array_equal(result[..., 0], [[0, 1], [2, 3], [4, 5], [6, 7]])


def test_images_are_mirrored_top_to_bottom():
    image = np.array([[[1], [2]], [[3], [4]]])
    result = _map(D.py.FlipUpsideDown(key="x"), image)
    np.testing.assert_array_equal(result[..., 0], [[3, 4], [1, 2]])


def test_three_crops_lie_along_the_longer_side():
    wide = np.arange(2 * 6).reshape(2, 6, 1)
    left, middle, right = _map(D.ThreeSpatialCrop(key="x"), wide)[..., 0]
    np.testing.assert_array_equal(left, [[0, 1], [6, 7]])
    np.testing.assert_array_equal(middle, [[2, 3], [8, 9]])
    np.testing.assert_array_equal(right, [[4, 5], [10, 11]])
    high = np.swapaxes(wide, 0, 1)
    crops = _map(D.ThreeSpatialCrop(key="x", size=2), high)[..., 0]
    np.testing.assert_array_equal(crops[2], np.array([[4, 5], [10, 11]]).T)
    with pytest.raises(kd.data.DataError, match="smaller than 3 x 3"):
        _map(D.ThreeSpatialCrop(key="x", size=3), wide)


def test_nests_are_made_of_keys_that_begin_alike():
    unflatten = D.TreeUnflattenForKey(key="a")
    element = {"a/b": 1, "a/c/d": 2, "ab": 3, "x": 4}
    assert unflatten.map(element) == {"ab": 3, "x": 4, "a": {"b": 1, "c": {"d": 2}}}
    for bad, words in [
        ({"x": 1}, "no key begins with 'a/'"),
        ({"a": 0, "a/b": 1}, "exists already"),
        ({"a/b": 1, "a/b/c": 2}, "both a value and a nest"),
        ({"a/b/c": 2, "a/b": 1}, "both a value and a nest"),
    ]:
        with pytest.raises(kd.data.DataKeyError, match=words):
            unflatten.map(bad)


def test_unflattening_undoes_flattening():
    nest = {"a": {"b": 1, "c": {"d": 2}}, "x": 3}
    flat = kd.data.TreeFlattenWithPath(key="a", separator="/").map(nest)
    assert D.TreeUnflattenForKey(key="a").map(flat) == nest


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Double(D.ElementWiseTransformWithPredicate):
    def map_element(self, element):
        return 2 * element


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AddNoise(D.py.ElementWiseRandomTransformWithPredicate):
    def random_map_element(self, element, rng):
        return element + rng.integers(1000)


def test_transforms_work_on_all_keys_that_fit():
    element = {"image_left": 1, "image_right": 2, "label": 3}
    by_name = _Double(predicate="image_.*").map(element)
    assert by_name == {"image_left": 2, "image_right": 4, "label": 3}
    by_value = _Double(predicate=lambda key, value: value == 3).map(element)
    assert by_value == {"image_left": 1, "image_right": 2, "label": 6}
    with pytest.raises(
        kd.data.DataKeyError, match=r"fits 'imag'. There are \['image_l"
    ):
        _Double(predicate="imag").map(element)
    noisy = _random_map(_AddNoise(predicate="image_.*"), element)
    assert noisy["image_right"] - noisy["image_left"] == 1 and noisy["label"] == 3


def test_they_work_in_a_pipeline():
    class Source:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            return {"video": np.full((5, 4, 4, 1), index, np.uint8)}

    ds = kd.data.py.DataSource(
        Source(),
        shuffle=False,
        batch_size=3,
        num_epochs=1,
        seed=0,
        transforms=[
            D.RandomClip(key="video", num_frames=2),
            D.GaussianBlur(key="video"),
            D.Scale(key="video", factor=2.0),
            D.FlattenVideo(key="video"),
        ],
    )
    batches = list(ds)
    assert batches[0]["video"].shape == (3, 8, 4, 1)
    np.testing.assert_array_equal(batches[1]["video"][:, 0, 0, 0], [6, 8, 10])
