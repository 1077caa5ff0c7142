"""Random transforms: what they draw depends on (seed, epoch, example) alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from kauldron import kd
from kauldron.data import _draws
from kauldron.data.transforms import _rand_augment_ops

_NUM = 12
_IMAGES = np.random.default_rng(0).integers(0, 256, (_NUM, 12, 10, 3), dtype=np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AddNoise(kd.data.py.ElementWiseRandomTransform):
    def random_map_element(self, element, rng):
        return element + rng.normal(size=np.shape(element))


# One line for each random transform of elements.
_MEMBERS = [
    kd.data.RandomCrop(key="image", shape=(5, 4, None)),
    kd.data.RandomFlipLeftRight(key="image"),
    kd.data.RandomFlipUpDown(key="image"),
    kd.data.RandomResizedCrop(key="image", size=6),
    kd.data.InceptionCrop(key="image", resize_size=6),
    kd.data.ColorJitter(
        key="image", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
    ),
    kd.data.RandAugment(key="image", magnitude=15),
    _AddNoise(key="image"),
]


def _pipeline(transforms, images=_IMAGES, **kwargs):
    columns = {"image": images, "id": np.arange(len(images))}
    defaults = {"shuffle": True, "batch_size": 4, "seed": 3, "num_epochs": 2}
    return kd.data.py.DataSource(
        kwargs.pop("source", columns), transforms=transforms, **{**defaults, **kwargs}
    )


def _by_example(ds):
    """Returns {(epoch, example): image}."""
    seen: dict[tuple[int, int], np.ndarray] = {}
    for batch in ds:
        for example, image in zip(batch["id"].tolist(), batch["image"], strict=True):
            seen[sum(k[1] == example for k in seen), example] = image
    return seen


@pytest.mark.parametrize("transform", _MEMBERS, ids=lambda t: type(t).__name__)
def test_result_depends_on_seed_epoch_and_example_only(transform):
    ds = _pipeline([transform])
    expected = _by_example(ds)
    records = [{"image": image, "id": i} for i, image in enumerate(_IMAGES)]
    others = [
        dataclasses.replace(ds, batch_size=3),
        dataclasses.replace(ds, shuffle=False),
        dataclasses.replace(ds, data_source=records),
        dataclasses.replace(
            ds, transforms=[kd.data.AddConstants(values={"c": 1}), transform]
        ),
    ]
    for other in others:
        actual = _by_example(other)
        assert actual.keys() == expected.keys()
        for key, image in expected.items():
            np.testing.assert_array_equal(actual[key], image, strict=True)


@pytest.mark.parametrize("transform", _MEMBERS, ids=lambda t: type(t).__name__)
def test_seed_and_epoch_change_the_result(transform):
    ds = _pipeline([transform])
    seen = _by_example(ds)
    other_seed = _by_example(dataclasses.replace(ds, seed=4))

    def num_equal(pairs):
        return sum(np.array_equal(a, b) for a, b in pairs)

    # Flips agree half of the time.
    assert num_equal((seen[0, i], seen[1, i]) for i in range(_NUM)) < _NUM
    assert num_equal((seen[k], other_seed[k]) for k in seen) < 2 * _NUM


def test_two_transforms_of_one_kind_draw_different_numbers():
    twice = [_AddNoise(key={"image": "a"}), _AddNoise(key={"image": "b"})]
    batch = next(iter(_pipeline(twice)))
    assert not np.array_equal(batch["a"], batch["b"])


@pytest.mark.parametrize(
    "make",
    [
        lambda key: kd.data.RandomCrop(key=key, shape=(5, 4, None)),
        lambda key: kd.data.RandomFlipLeftRight(key=key),
        lambda key: kd.data.RandomResizedCrop(key=key, size=6, method="nearest"),
        lambda key: _AddNoise(key=key),
    ],
)
def test_image_and_mask_change_alike(make):
    transforms = [kd.data.Elements(copy={"image": "mask"}), make(["image", "mask"])]
    batch = next(iter(_pipeline(transforms)))
    np.testing.assert_array_equal(batch["image"], batch["mask"])


def test_crops_are_windows_of_the_image():
    positions = np.stack(np.meshgrid(np.arange(9), np.arange(7), indexing="ij"), -1)
    images = np.broadcast_to(positions, (200, 9, 7, 2)).copy()
    ds = _pipeline(
        [kd.data.RandomCrop(key="image", shape=(4, 3, None))], images, batch_size=200
    )
    crops = next(iter(ds))["image"]
    corners = crops[:, 0, 0]
    np.testing.assert_array_equal(crops - corners[:, None, None], images[:, :4, :3])
    # Every corner can be drawn, the last ones included.
    assert set(corners[:, 0].tolist()) == set(range(6))
    assert set(corners[:, 1].tolist()) == set(range(5))


def test_random_crop_of_ragged_images():
    records = [{"image": _IMAGES[i, : 6 + i % 3], "id": i} for i in range(_NUM)]
    ds = _pipeline(
        [kd.data.RandomCrop(key="image", shape=(5, 4, None))], source=records
    )
    assert next(iter(ds))["image"].shape == (4, 5, 4, 3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((5, 4), "2 axes, the array has 3"), ((20, 4, None), "smaller than the crop")],
)
def test_impossible_crop_is_reported(shape, message):
    ds = _pipeline([kd.data.RandomCrop(key="image", shape=shape)])
    with pytest.raises(ValueError, match=message):
        next(iter(ds))


def test_crop_of_keys_with_different_sizes_is_reported():
    source = {"image": _IMAGES, "mask": _IMAGES[:, :6]}
    ds = _pipeline(
        [kd.data.RandomCrop(key=["image", "mask"], shape=(5, 4, None))], source=source
    )
    with pytest.raises(ValueError, match="different sizes in one example"):
        next(iter(ds))


def test_flip_mirrors_the_width_of_about_half_the_images():
    images = np.arange(24, dtype=np.uint8).reshape(1, 4, 3, 2).repeat(400, 0)
    ds = _pipeline([kd.data.RandomFlipLeftRight(key="image")], images, batch_size=400)
    flipped = next(iter(ds))["image"]
    is_flipped = (flipped == images[0, :, ::-1]).all((1, 2, 3))
    assert ((flipped == images[0]).all((1, 2, 3)) ^ is_flipped).all()
    # Binomial(400, 1/2): outside of 140..260 once in 10^9 seeds.
    assert 140 <= is_flipped.sum() <= 260


def test_area_of_random_parts_is_in_range():
    transform = kd.data.RandomResizedCrop(key="image", size=4, area_range=(0.3, 0.6))
    sizes = np.tile([[200, 300]], (500, 1))
    ids = _draws.example_ids(0, 0, np.arange(500))
    top, left, height, width = transform._boxes(sizes, _draws.Draws(ids)).T
    share = height * width / (200 * 300)
    # Sides are rounded to pixels.
    assert share.min() > 0.29
    assert share.max() < 0.61
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 200).all()
    assert (left + width <= 300).all()


def test_color_jitter_without_effect_is_identity():
    unchanged = kd.data.ColorJitter(key="image")
    batch = next(iter(_pipeline([unchanged], shuffle=False)))
    np.testing.assert_array_equal(batch["image"], _IMAGES[:4])


_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@pytest.mark.parametrize("kind", ["contrast", "saturation"])
def test_contrast_and_saturation_keep_what_they_do_not_change(kind):
    """Contrast keeps the mean luma of an image, saturation the luma of each pixel."""
    images = np.random.default_rng(1).uniform(0.4, 0.6, (8, 5, 4, 3))
    images = images.astype(np.float32)
    transform = kd.data.ColorJitter(key="image", **{kind: 0.4})
    ds = _pipeline([transform], images, batch_size=8, num_epochs=1, shuffle=False)
    (batch,) = ds
    axes = (1, 2) if kind == "contrast" else ()
    before, after = ((x @ _LUMA).mean(axes) for x in (images, batch["image"]))
    # f32 sums of 20 numbers, and luma weights that are rounded to f32.
    np.testing.assert_allclose(after, before, atol=1e-6)
    distance = np.abs(batch["image"] - images).max((1, 2, 3))
    assert (distance > 1e-4).all()
    assert (distance < 0.4 * 0.2).all()  # at most the factor times the range


_COLOURS = np.array([[[0.2, 0.4, 0.6], [0.5, 0.3, 0.4]]], np.float32)
_GRAY = (_COLOURS @ _LUMA)[..., None]
_NO_CHANGE = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "turn": 0.0}


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ({"brightness": 0.5}, _COLOURS / 2),
        ({"brightness": 1.25}, _COLOURS * 1.25),
        ({"brightness": 3.0}, np.minimum(_COLOURS * 3, 1)),
        ({"brightness": -0.5}, 0 * _COLOURS),
        ({"contrast": 1.25}, _GRAY.mean() + 1.25 * (_COLOURS - _GRAY.mean())),
        ({"contrast": -0.5}, 0 * _COLOURS + _GRAY.mean()),
        ({"saturation": 1.25}, _GRAY + 1.25 * (_COLOURS - _GRAY)),
        ({"saturation": -0.5}, 0 * _COLOURS + _GRAY),
        # Half a turn leads to the other side of gray, a whole one back.
        ({"turn": 0.5}, 2 * _GRAY - _COLOURS),
        ({"turn": 1.0}, _COLOURS),
        # One after the other: contrast keeps the mean, saturation the gray, as they are.
        (
            {"brightness": 0.5, "contrast": 0.0, "saturation": 3.0},
            0 * _COLOURS + _GRAY.mean() / 2,
        ),
    ],
)
def test_colours_change_by_the_factors(factors, expected):
    jitter = kd.data.ColorJitter(
        key="image", brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5
    )
    found = jitter._jitter(_COLOURS, **{**_NO_CHANGE, **factors})
    # The published matrix of YIQ has three decimals.
    np.testing.assert_allclose(found, expected, atol=3e-3)


def test_factors_of_colours_are_drawn_evenly_and_each_by_itself(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        kd.data.ColorJitter, "_jitter", lambda self, image, *x: drawn.append(x)
    )
    widths = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1}
    draws = _draws.Draws(_draws.example_ids(0, 0, np.arange(1000)))
    kd.data.ColorJitter(key="image", **widths).random_batch(np.zeros((1000, 1)), draws)
    shares = (np.array(drawn) - [1, 1, 1, 0]) / list(widths.values())
    for share in shares.T:
        assert stats.kstest(share, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    correlations = np.corrcoef(shares.T) - np.eye(4)
    assert abs(correlations).max() < 0.13  # four standard deviations


def test_hue_keeps_gray_and_brightness():
    gray = np.full((_NUM, 4, 4, 3), 0.5, np.float32)
    batch = next(iter(_pipeline([kd.data.ColorJitter(key="image", hue=0.5)], gray)))
    # The published YIQ matrix has three decimals.
    np.testing.assert_allclose(batch["image"], 0.5, atol=2e-3)


def test_rand_augment_operations_keep_shape_and_type():
    from kauldron.data.transforms import _rand_augment_ops

    for pixels in (_IMAGES[0], _IMAGES[0][..., :1]):
        for index in range(len(_rand_augment_ops.OPERATIONS)):
            actual = _rand_augment_ops.apply(
                pixels, [(index, True)], strength=1.0, fill=0
            )
            assert actual.shape == pixels.shape
            assert actual.dtype == np.uint8


def _labelled(num_rows):
    return {
        "image": np.random.default_rng(0).uniform(size=(num_rows, 8, 8, 3)),
        "label": np.eye(num_rows),
    }


@pytest.mark.parametrize("num_rows", [1, 4, 5])
def test_mixup_mixes_images_as_labels_say(num_rows):
    data = _labelled(num_rows)
    ds = kd.data.py.DataSource(
        data,
        shuffle=False,
        batch_size=num_rows,
        seed=0,
        transforms=[kd.data.MixUp(alpha=1.0)],
    )
    batch = next(iter(ds))
    # The labels are one-hot by row, so they are the mixing matrix.
    expected = np.einsum("ij,jhwc->ihwc", batch["label"], data["image"])
    np.testing.assert_allclose(batch["image"], expected, rtol=1e-12)
    np.testing.assert_allclose(batch["label"].sum(-1), 1)
    if num_rows > 1:
        assert (batch["label"].max(-1) < 1).any()


def test_cutmix_labels_are_shares_of_area():
    data = _labelled(6)
    ds = kd.data.py.DataSource(
        data, shuffle=False, batch_size=6, seed=1, transforms=[kd.data.CutMix()]
    )
    batch = next(iter(ds))
    for i in range(6):
        is_own = (batch["image"][i] == data["image"][i]).all(-1)
        is_partner = (batch["image"][i] == data["image"][i ^ 1]).all(-1)
        assert (is_own ^ is_partner).all()
        np.testing.assert_allclose(batch["label"][i, i], is_own.mean())


def test_cutmix_pastes_as_much_of_one_side_as_of_the_other():
    num, width = 4000, 6
    images = np.broadcast_to(np.arange(num)[:, None, None, None], (num, 1, width, 1))
    data = {"image": images, "label": np.eye(2)[np.arange(num) % 2]}
    ds = kd.data.py.DataSource(
        data, shuffle=False, batch_size=num, seed=1, transforms=[kd.data.CutMix()]
    )
    is_pasted = next(iter(ds))["image"] != images
    counts = is_pasted.sum(axis=(0, 1, 3))
    # The difference of two counts that add up to n is +- sqrt(n); five sigma.
    difference = counts - counts[::-1]
    assert (np.abs(difference) < 5 * np.sqrt(counts + counts[::-1])).all()


def test_images_are_moved_by_up_to_45_percent():
    """As in the code of the paper, for images of any size."""
    operations = _rand_augment_ops.OPERATIONS
    across, down = len(operations) - 2, len(operations) - 1
    image = np.arange(20 * 40, dtype=np.int64).reshape(20, 40, 1).astype(np.uint8)

    def move(index, *, negate, strength):
        return _rand_augment_ops.apply(
            image, [(index, negate)], strength=strength, fill=7
        )

    for strength, columns, rows in ((1.0, 18, 9), (1 / 9, 2, 1)):
        moved = move(across, negate=False, strength=strength)
        other = move(across, negate=True, strength=strength)
        if (moved[:, 0] == 7).all():
            moved, other = other, moved
        np.testing.assert_array_equal(moved[:, :-columns], image[:, columns:])
        np.testing.assert_array_equal(moved[:, -columns:], 7)
        np.testing.assert_array_equal(other[:, columns:], image[:, :-columns])
        moved = move(down, negate=False, strength=strength)
        if (moved[0] == 7).all():
            moved = move(down, negate=True, strength=strength)
        np.testing.assert_array_equal(moved[:-rows], image[rows:])
        np.testing.assert_array_equal(moved[-rows:], 7)


def test_one_element_can_be_changed_by_hand():
    image = _IMAGES[0]
    flip = kd.data.RandomFlipLeftRight(key="image")
    rng = np.random.default_rng(0)
    found = [flip.random_map_element(image, rng) for _ in range(20)]
    is_flipped = [np.array_equal(x, image[:, ::-1]) for x in found]
    assert 0 < sum(is_flipped) < 20
    assert all(
        np.array_equal(x, image) or f for x, f in zip(found, is_flipped, strict=True)
    )


def test_mixing_class_ids_says_to_use_one_hot():
    data = {"image": np.zeros((4, 2, 2, 1)), "label": np.arange(4)}
    ds = kd.data.py.DataSource(
        data, shuffle=False, batch_size=4, transforms=[kd.data.MixUp()]
    )
    with pytest.raises(ValueError, match=r"OneHot\(key='label'"):
        next(iter(ds))


def test_element_transform_after_a_batch_transform_is_refused():
    with pytest.raises(ValueError, match=r"`Cast` changes single elements"):
        kd.data.py.DataSource(
            [1],
            shuffle=False,
            transforms=[kd.data.MixUp(), kd.data.Cast(key="x", dtype="int32")],
        )


def test_draws_are_uniform_and_independent():
    ids = _draws.example_ids(0, 0, np.arange(20_000))
    draws = _draws.Draws(ids, "a")
    first, second = draws.uniform(), draws.uniform()
    other = _draws.Draws(ids, "b").uniform()
    # p-values of a fixed seed; a broken generator gives about 0.
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(), "norm").pvalue > 1e-3
    for a, b in ((first, second), (first, other), (first[1:], first[:-1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03


def test_draws_of_an_example_do_not_depend_on_the_others():
    ids = _draws.example_ids(7, 2, np.arange(10))
    alone = _draws.Draws(ids[4:5], "a")
    together = _draws.Draws(ids, "a")
    assert alone.integers(0, 1000)[0] == together.integers(0, 1000)[4]
    assert alone.generator(0).normal() == together.generator(4).normal()
