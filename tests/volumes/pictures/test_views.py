"""Volumes as pictures: which way is up, colours, contours, boxes, patches."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from kauldron import kd

volumes = kd.volumes


def _halves(picture, columns):
    """Mean brightness above and below, left and right, of a slice."""
    part = picture[:, columns].mean(-1)
    h, w = part.shape
    return (
        part[: h // 2].mean() - part[(h + 1) // 2 :].mean(),
        part[:, : w // 2].mean() - part[:, (w + 1) // 2 :].mean(),
    )


_RAMPS = {  # what is bright: where it is in the axial, coronal and sagittal slice
    "left": ([0, -1], [0, -1], [0, 0]),
    "back": ([-1, 0], [0, 0], [0, -1]),
    "head": ([0, 0], [1, 0], [1, 0]),
}


@pytest.mark.parametrize("towards", _RAMPS)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_slices_are_turned_as_the_world_is(towards, order):
    size = 8
    world_axis = {"left": 0, "back": 1, "head": 2}[towards]
    # Axes of the array in another order, and one of them backwards.
    direction = np.eye(3)[:, list(order)] * np.array([1, -1, 1])
    geometry = volumes.Geometry.make(1.0, direction=direction)
    index = np.stack(np.indices((size,) * 3), axis=-1)
    array = geometry.to_world(index)[..., world_axis]
    picture = volumes.views(volumes.Image(array, geometry), min_height=size).array
    assert picture.shape == (size, 3 * size + 8, 3)
    for i, expected in enumerate(_RAMPS[towards]):
        start = i * (size + 4)
        found = _halves(picture, slice(start, start + size))
        np.testing.assert_array_equal(
            np.round(np.sign(found) * (np.abs(found) > 0.1)), expected
        )


def test_pixels_are_square_millimetres():
    image = volumes.Image(np.zeros((4, 10, 20)), volumes.Geometry.make((5.0, 2.0, 1.0)))
    picture = volumes.views(image, min_height=1).array
    # Axial 20 x 20 mm, coronal and sagittal 20 mm high.
    assert picture.shape == (20, 20 + 4 + 20 + 4 + 20, 3)
    large = volumes.views(image, min_height=60).array
    assert large.shape[:2] == (60, 3 * 60 + 8)


def test_labels_are_laid_over_and_contours_are_drawn_around():
    gray = np.zeros((9, 9, 9))
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2:7] = 1
    drawn = volumes.views(gray, labels=labels, min_height=9)
    assert drawn.at == (4, 4, 4)
    colored = drawn.array[:, :9].max(-1) > 0
    assert colored[2:7, 2:7].all() and colored.sum() == 25
    outline = (
        volumes.views(gray, contours=[labels], min_height=9).array[:, :9].max(-1) > 0
    )
    assert outline.sum() == 16 and not outline[3:6, 3:6].any()
    second = volumes.views(gray, contours=[0 * labels, labels], min_height=9).array
    assert second.min(-1).max() > 0.2  # brighter


def test_the_loss_of_a_patch_is_where_the_patch_is():
    starts = [[0, 0, 0], [2, 2, 2], [-2, 4, 4]]
    heat = volumes.patch_map(
        starts, [1.0, 3.0, 8.0], patch_size=(4, 4, 4), shape=(8, 8, 8)
    )
    assert heat[0, 0, 0] == 1 and heat[3, 3, 3] == 2 and heat[5, 5, 5] == 3
    assert heat[0, 7, 7] == 8 and np.isnan(heat[7, 0, 0])
    picture = volumes.views(np.zeros((8, 8, 8)), heat=heat, min_height=8)
    assert picture.at == (0, 4, 4)  # where the loss is the largest
    red = picture.array[:, :8, 0]
    assert red[7, 7] == pytest.approx(0.8) and red[0, 0] == pytest.approx(0.1)
    box = volumes.Region((2, 2, 2), (6, 6, 6))
    framed = volumes.views(np.zeros((8, 8, 8)), box=box, min_height=8)
    assert framed.at == (3, 3, 3)
    assert (framed.array[:, :8] == (1, 1, 0)).all(-1).sum() == 12
    with pytest.raises(ValueError, match="one value for each patch"):
        volumes.patch_map(starts, [1.0], patch_size=(4, 4, 4), shape=(8, 8, 8))


def test_a_picture_shows_itself_in_notebooks_and_is_saved(tmp_path):
    drawn = volumes.views(np.random.default_rng(0).random((5, 6, 7)))
    with PIL.Image.open(io.BytesIO(drawn._repr_png_())) as shown:
        assert np.abs(np.asarray(shown) / 255 - drawn.array).max() < 1 / 255
    drawn.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_what_is_of_another_grid_or_outside_is_refused():
    gray = np.zeros((4, 5, 6))
    with pytest.raises(ValueError, match="`labels` must be of the grid"):
        volumes.views(gray, labels=np.zeros((4, 5, 5)))
    with pytest.raises(ValueError, match="`at` is a voxel of"):
        volumes.views(gray, at=(4, 0, 0))


def test_a_summary_shows_the_first_volumes_with_labels():
    rng = np.random.default_rng(0)
    images = rng.random((4, 6, 7, 8, 2)).astype("f4")
    scores = rng.normal(size=(4, 6, 7, 8, 3)).astype("f4")
    labels = rng.integers(0, 3, (4, 6, 7, 8, 1))
    matrices = np.stack([volumes.Geometry.make((2, 1, 1)).matrix] * 4)
    summary = volumes.ShowVolumes(
        images="i", labels="l", logits="s", geometry="g", num_volumes=3
    )
    batch = {
        "labels": labels[:2],
        "logits": scores[:2],
        "geometry": {"matrix": matrices[:2]},
    }
    state = summary.get_state(images=images[:2], **batch)
    rest = {
        "labels": labels[2:],
        "logits": scores[2:],
        "geometry": {"matrix": matrices[2:]},
    }
    shown = state.merge(summary.get_state(images=images[2:], **rest)).compute()
    expected = volumes.views(
        volumes.Image(images[2, ..., 0], volumes.Geometry.make((2, 1, 1))),
        labels=scores[2].argmax(-1),
        contours=[labels[2]],
    )
    assert len(shown) == 3
    np.testing.assert_allclose(shown[2], expected.array)
    assert summary.empty().compute() == {}
    with pytest.raises(ValueError, match="got both"):
        summary.get_state(images=images, logits=scores, pred_labels=labels)
