"""Labels: channels of them, some of them, and how they grow."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.special

from kauldron import kd

T = kd.volumes.transforms
_GRID = kd.volumes.Geometry.make()


def _forward(transform, x, **kwargs):
    return transform.forward(np.asarray(x), _GRID, **kwargs)[0]


def _row(*values, dtype=np.uint8):
    return np.array(values, dtype).reshape(1, 1, -1, 1)


def test_one_hot_and_argmax_are_inverse():
    labels = _row(2, 0, 1, 2)

    hot, geometry, undo = T.OneHot(num_classes=3).forward(labels, _GRID)
    back, _ = T.OneHot(num_classes=3).inverse(hot, geometry, undo)

    np.testing.assert_array_equal(hot[0, 0], np.eye(3, dtype=np.float32)[[2, 0, 1, 2]])
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, labels)


def test_softmax_is_that_of_scipy_also_of_large_logits():
    logits = np.random.default_rng(0).normal(size=(2, 2, 2, 5)) * 300

    ours = _forward(T.Softmax(), logits)

    np.testing.assert_allclose(ours, scipy.special.softmax(logits, -1), atol=1e-4)


def test_selected_labels_are_renumbered_and_get_their_numbers_back():
    transform = T.SelectLabels(labels=[300, 7], renumber=True)
    labels = _row(0, 7, 300, 9, 7, dtype=np.int16)

    few, geometry, undo = transform.forward(labels, _GRID)
    back, _ = transform.inverse(few.astype(np.uint8), geometry, undo, kind="label")

    assert few.ravel().tolist() == [0, 2, 1, 0, 2]
    assert back.ravel().tolist() == [0, 7, 300, 0, 7]


@pytest.mark.parametrize(
    ("keep_others", "expected"), [(False, [0, 1, 1, 2, 0]), (True, [0, 1, 1, 2, 9])]
)
def test_merged_labels(keep_others, expected):
    transform = T.MergeLabels(groups=[[3, 5], [4]], keep_others=keep_others)

    assert _forward(transform, _row(0, 3, 5, 4, 9)).ravel().tolist() == expected


def test_labels_grow_over_background_but_not_over_each_other():
    assert _forward(T.Dilate(), _row(0, 1, 2, 0, 0, 3, 0)).ravel().tolist() == [
        *(1, 1, 2, 2, 3, 3, 3)
    ]


@pytest.mark.parametrize("is_ball", [False, True])
def test_one_label_grows_like_a_mask_of_scipy(is_ball):
    mask = np.random.default_rng(0).random((9, 9, 9)) > 0.98
    index = np.indices((5, 5, 5)) - 2
    element = np.square(index).sum(0) <= 4 if is_ball else np.ones((5, 5, 5), bool)

    grown = _forward(T.Dilate(voxels=2, is_ball=is_ball), mask)

    theirs = scipy.ndimage.binary_dilation(mask, element)
    np.testing.assert_array_equal(grown[..., 0], theirs)


def test_masked_voxels_are_filled_where_another_group_is_background():
    # The mask has voxels of 2 mm: each is the nearest of two of the volume.
    mask = kd.volumes.Image(
        _row(0, 1, 1), kd.volumes.Geometry.make((1, 1, 2), (0.5, 0, 0))
    )

    y = _forward(
        T.Mask(by="brain", fill=-1),
        _row(1, 2, 3, 4, 5, 6.0, dtype=float),
        others={"brain": mask},
    )

    assert y.ravel().tolist() == [-1, -1, 3, 4, 5, 6]


def test_groups_cropped_by_one_group_get_one_box_and_come_back():
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:3, 2:5, 4] = 2
    ct = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    transform = T.CropToForeground(by="mask", labels=[2], margin=(0, 1, 9), fill=-5)
    others = {"mask": kd.volumes.Image(mask, _GRID)}

    y, geometry, undo = transform.forward(ct, _GRID, others=others)
    back, old = transform.inverse(y, geometry, undo)

    np.testing.assert_array_equal(y[..., 0], ct[1:3, 1:6])
    np.testing.assert_allclose(geometry.origin, [0, 1, 1])
    np.testing.assert_array_equal(back[1:3, 1:6, :, 0], ct[1:3, 1:6])
    assert back.shape[:3] == ct.shape and np.sum(back == -5) == 210 - 70
    assert old.is_close(_GRID)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _forward(T.OneHot(num_classes=2), _row(0, 2)), "has 0, 2"),
        (
            lambda: _forward(T.OneHot(num_classes=2), _row(0.0, 2.0, dtype=float)),
            "float",
        ),
        (lambda: _forward(T.CropToForeground(), _row(0, 0)), "no foreground"),
        (lambda: T.SelectLabels(labels=[1, 1]), "each once"),
        (lambda: T.MergeLabels(groups=[[1], [1]]), "in one of them"),
        (lambda: T.Gradient(output="x"), "magnitude"),
        (lambda: T.HistogramMatching(), "either"),
        (lambda: T.HistogramMatching(reference=(2.0, 1.0)), "don't fall"),
    ],
)
def test_what_cannot_be_done_is_told(make, words):
    with pytest.raises(kd.volumes.VolumeError, match=words):
        make()
