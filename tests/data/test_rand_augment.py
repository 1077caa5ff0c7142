"""RandAugment: each operation by hand, and how many of them, how strong, are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from kauldron.data import _draws
from kauldron.data.transforms import _rand_augment_ops

_NAMES = (
    *("identity", "auto_contrast", "equalize", "rotate", "solarize", "color"),
    *("posterize", "contrast", "brightness", "sharpness", "shear_x", "shear_y"),
    *("translate_x", "translate_y"),
)


def _apply(name, pixels, *, strength=1.0, negate=False, fill=0):
    layers = [(_NAMES.index(name), negate)]
    return _rand_augment_ops.apply(pixels, layers, strength=strength, fill=fill)


def _row(*values):
    """A gray image of one row, `u8[1 w 1]`."""
    return np.array(values, np.uint8).reshape(1, -1, 1)


def test_the_operations_are_the_fourteen_of_the_paper():
    assert len(_rand_augment_ops.OPERATIONS) == len(_NAMES) == 14


@pytest.mark.parametrize(
    ("name", "pixels", "options", "expected"),
    [
        ("identity", _row(0, 77, 255), {}, [0, 77, 255]),
        # 64 to 191 become 0 to 255.
        ("auto_contrast", _row(64, 128, 191), {}, [0, 128, 255]),
        # What is 128 (64, 256) or more is inverted.
        ("solarize", _row(0, 127, 128, 255), {"strength": 0.5}, [0, 127, 127, 0]),
        ("solarize", _row(0, 63, 64, 255), {"strength": 0.75}, [0, 63, 191, 0]),
        ("solarize", _row(0, 127, 255), {"strength": 0.0}, [0, 127, 255]),
        ("solarize", _row(0, 127, 255), {}, [255, 128, 0]),
        # Of 8 bits, 4, 6 and all are kept.
        ("posterize", _row(15, 23, 255), {}, [0, 16, 240]),
        ("posterize", _row(3, 23, 255), {"strength": 0.5}, [0, 20, 252]),
        ("posterize", _row(3, 23, 255), {"strength": 0.0}, [3, 23, 255]),
        # By a factor of 1.9, 0.1, 1.45, 0.55.
        ("brightness", _row(0, 100, 200), {}, [0, 190, 255]),
        ("brightness", _row(0, 100, 200), {"negate": True}, [0, 10, 20]),
        ("brightness", _row(100, 200), {"strength": 0.5}, [145, 255]),
        ("brightness", _row(100, 200), {"strength": 0.5, "negate": True}, [55, 110]),
        # The same factors of the distance from the mean, 100.
        ("contrast", _row(50, 150), {}, [5, 195]),
        ("contrast", _row(50, 150), {"negate": True}, [95, 105]),
    ],
)
def test_values_are_those_of_the_operation(name, pixels, options, expected):
    found = _apply(name, pixels, **options).ravel().astype(int)
    # Half numbers are rounded either way.
    np.testing.assert_allclose(found, expected, atol=1)
    if name in ("identity", "solarize", "posterize"):
        np.testing.assert_array_equal(found, expected)


def test_equal_shares_of_values_are_spread_equally():
    pixels = np.repeat(np.array([10, 20, 30, 200], np.uint8), 256).reshape(32, 32, 1)
    found = _apply("equalize", pixels).ravel()[::256]
    np.testing.assert_allclose(found.astype(int), [0, 85, 170, 255], atol=1)


@pytest.mark.parametrize(("negate", "factor"), [(False, 1.9), (True, 0.1)])
def test_colour_changes_the_distance_from_gray(negate, factor):
    colour = np.array([150, 120, 100])
    gray = 0.299 * 150 + 0.587 * 120 + 0.114 * 100
    pixels = np.tile(colour.astype(np.uint8), (2, 3, 1))
    found = _apply("color", pixels, negate=negate)[0, 0]
    expected = gray + factor * (colour - gray)
    np.testing.assert_allclose(found.astype(int), expected, atol=1.5)


@pytest.mark.parametrize(("negate", "factor"), [(False, 1.9), (True, 0.1)])
def test_sharpness_changes_the_distance_from_the_mean_of_the_neighbours(negate, factor):
    pixels = np.zeros((7, 7, 1), np.uint8)
    pixels[3, 3] = 130
    found = _apply("sharpness", pixels, negate=negate)[3, 3, 0]
    mean = 130 * 5 / 13  # itself five times, each neighbour once
    np.testing.assert_allclose(int(found), mean + factor * (130 - mean), atol=1)


# Of an image of 60 x 40, a spot at (10, 12) from the middle. The places are hand-worked:
# an output pixel (x, y) shows the input at (x + a y, y), and so on.
_WIDTH, _HEIGHT, _X, _Y = 60, 40, 40, 32


@pytest.mark.parametrize(
    ("name", "strength", "negate", "x", "y"),
    [
        ("shear_x", 1.0, False, _X - 0.3 * _Y, _Y),
        ("shear_x", 0.5, True, _X + 0.15 * _Y, _Y),
        ("shear_y", 1.0, False, _X, _Y - 0.3 * _X),
        ("shear_y", 0.25, True, _X, _Y + 0.075 * _X),
        ("translate_x", 1.0, False, _X - 0.45 * _WIDTH, _Y),
        ("translate_x", 0.5, True, _X + 0.225 * _WIDTH, _Y),
        ("translate_y", 1.0, False, _X, _Y - 0.45 * _HEIGHT),
        ("translate_y", 0.25, True, _X, _Y + 0.1125 * _HEIGHT),
        # 30 degrees around the middle, (10, 12) from it: to the left, then to the right.
        ("rotate", 1.0, False, 30 + 8.66 + 6.0, 20 - 5.0 + 10.39),
        ("rotate", 1.0, True, 30 + 8.66 - 6.0, 20 + 5.0 + 10.39),
        ("rotate", 0.5, False, 30 + 9.66 + 3.11, 20 - 2.59 + 11.59),
    ],
)
def test_pixels_move_to_where_the_operation_takes_them(name, strength, negate, x, y):
    pixels = np.zeros((_HEIGHT, _WIDTH, 3), np.uint8)
    pixels[_Y - 1 : _Y + 2, _X - 1 : _X + 2] = 200
    moved = _apply(name, pixels, strength=strength, negate=negate, fill=7)
    rows, columns = np.nonzero((moved == 200).all(-1))
    # Pixels are copied, the nearest one each.
    np.testing.assert_allclose([columns.mean(), rows.mean()], [x, y], atol=1)
    # What comes from outside has the value that was asked for, in every channel.
    assert ((moved == 7).all(-1) == (moved == 7).any(-1)).all()
    assert (moved == 7).any()


def test_gray_images_are_filled_too():
    moved = _apply("translate_x", np.zeros((8, 8, 1), np.uint8), fill=9)
    np.testing.assert_array_equal(moved[0, :, 0], [0, 0, 0, 0, 9, 9, 9, 9])


@pytest.mark.parametrize(
    ("options", "num_layers", "strength", "fill"),
    [({}, 2, 0.3, 128), ({"num_layers": 3, "magnitude": 15, "fill": 4}, 3, 0.5, 4)],
)
def test_operations_are_drawn_evenly_and_half_of_them_negated(
    monkeypatch, options, num_layers, strength, fill
):
    calls = []
    monkeypatch.setattr(
        _rand_augment_ops,
        "apply",
        lambda pixels, layers, **kwargs: calls.append((layers, kwargs)) or pixels,
    )
    draws = _draws.Draws(_draws.example_ids(0, 0, np.arange(1400)))
    augment = kd.data.RandAugment(key="image", **options)
    augment.random_batch(np.zeros((1400, 1, 1, 3), np.uint8), draws)
    assert all(kwargs == {"strength": strength, "fill": fill} for _, kwargs in calls)
    layers = np.array([layers for layers, _ in calls])
    assert layers.shape == (1400, num_layers, 2)
    for layer in range(num_layers):
        counts = np.bincount(layers[:, layer, 0], minlength=14)
        # 100 each, give or take four standard deviations (of a binomial: 9.6).
        assert len(counts) == 14
        assert (abs(counts - 100) < 39).all()
        # 700 of 1400, standard deviation 18.7.
        assert abs(layers[:, layer, 1].sum() - 700) < 75
    # One layer tells nothing of the other.
    assert len(np.unique(layers[:, :2, 0], axis=0)) == 14 * 14
