"""Options of summaries, and their defaults: what each of them changes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from kauldron import summaries

_PALETTE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_videos_and_images_below_boxes_are_shown_in_the_range_that_is_told():
    x = np.array([-1, 0, 1], np.float32).reshape(1, 1, 3, 1)
    video = summaries.ShowVideos(videos="v", in_vrange=(-1, 1))(videos=x[None])
    np.testing.assert_array_equal(video.frames.ravel(), [0, 0.5, 1])
    summary = summaries.ShowBoxes(images="i", boxes="b", in_vrange=(-1, 1))
    shown = summary(images=x, boxes=np.zeros((1, 0, 4), np.float32))
    np.testing.assert_array_equal(shown[..., 0].ravel(), [0, 0.5, 1])


def test_a_video_has_ten_frames_a_second_and_begins_again():
    frames = np.array([0, 1], np.float32) * np.ones((2, 2, 1, 2), np.float32)
    frames = np.moveaxis(frames, -1, 0)[None]
    [gif] = summaries.ShowVideos(videos="v")(videos=frames).to_gifs()
    with Image.open(io.BytesIO(gif)) as image:
        assert (image.info["duration"], image.info["loop"]) == (100, 0)


def test_difference_is_that_of_all_channels_together():
    a = np.array([0.3, 0.6, 0.75], np.float32).reshape(1, 1, 1, 3)
    summary = summaries.ShowDifferenceImages(
        images1="a", images2="b", num_images=1, vrange=(0, 1)
    )
    shown = summary(images1=a, images2=np.zeros_like(a))
    np.testing.assert_allclose(shown.ravel(), [0.55], rtol=1e-6)


def test_difference_has_the_colours_of_the_map():
    matplotlib = pytest.importorskip("matplotlib")
    a = np.array([-0.5, 0, 1], np.float32).reshape(1, 1, 3, 1)
    summary = summaries.ShowDifferenceImages(
        images1="a", images2="b", num_images=1, cmap="coolwarm"
    )
    shown = summary(images1=a, images2=np.zeros_like(a))
    expected = matplotlib.colormaps["coolwarm"]([0.25, 0.5, 1])[:, :3]
    np.testing.assert_allclose(shown[0, 0], expected, atol=1e-6)


def test_numbers_stand_in_their_cells_in_ink_that_is_seen():
    summary = summaries.ConfusionMatrix(pred_labels="p", labels="t", num_classes=2)
    counts = np.array([[0, 1000, 0], [1, 0, 0]])  # nothing predicted as no class
    [picture] = summary.State(counts=counts, parent=summary).compute()
    picture = picture[-80:, -80:]
    # Between cells there are two white pixels.
    many, few = picture[:38, 40:78], picture[40:78, :38]
    for cell, width, ink in [(many, (15, 38), 1), (few, (1, 10), 0)]:
        is_ink = (np.abs(cell - cell[0, 0]) > 0.1).any(axis=-1)
        assert width[0] <= is_ink.any(axis=0).sum() <= width[1]
        darkest_or_lightest = cell[is_ink].max() if ink else cell[is_ink].min()
        assert abs(darkest_or_lightest - ink) < 0.1


def test_colours_of_probabilities_begin_again_after_the_last_of_the_palette():
    probs = np.eye(5, dtype=np.float32).reshape(1, 1, 5, 5)
    for is_hard in (False, True):
        summary = summaries.ShowSegmentations(
            segmentations="s", palette=_PALETTE, hard=is_hard
        )
        shown = summary(segmentations=probs)
        expected = [_PALETTE[i] for i in (0, 1, 2, 0, 1)]
        np.testing.assert_array_equal(shown[0, 0], expected)


def test_colours_of_probabilities_are_spread_over_a_colour_map():
    matplotlib = pytest.importorskip("matplotlib")
    probs = np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3)
    summary = summaries.ShowSegmentations(segmentations="s", palette="viridis")
    expected = matplotlib.colormaps["viridis"]([0, 0.5, 1.0])[:, :3]
    shown = summary(segmentations=probs)
    np.testing.assert_allclose(shown[0, 0], expected, atol=1e-6)


def test_an_image_below_a_segmentation_is_darkened_to_two_fifths_at_most():
    images = np.array([0, 0.5, 1], np.float32).reshape(1, 1, 3, 1)
    summary = summaries.ShowSegmentations(
        segmentations="s", images="i", palette=_PALETTE
    )
    shown = summary(segmentations=np.zeros((1, 1, 3, 1), np.int32), images=images)
    np.testing.assert_allclose(shown[0, 0, :, 0], [0.4, 0.7, 1], rtol=1e-6)


def test_a_mask_of_boxes_may_have_a_last_axis_of_one():
    images = np.zeros((2, 6, 6, 1), np.float32)
    box = np.broadcast_to(np.array([0, 0, 1, 1], np.float32), (2, 2, 4))
    mask = np.array([[0, 0], [0, 1]])
    summary = summaries.ShowBoxes(images="i", boxes="b", boxes_mask="m")
    shown = summary(images=images, boxes=box, boxes_mask=mask[..., None])
    assert shown.any(axis=(1, 2, 3)).tolist() == [False, True]


def test_no_more_boxed_images_are_shown_than_told_after_a_pattern():
    images = np.random.default_rng(0).random((2, 3, 4, 4, 3)).astype(np.float32)
    summary = summaries.ShowBoxes(
        images="i", boxes="b", num_images=2, rearrange="b t h w c -> (b t) h w c"
    )
    shown = summary(images=images, boxes=np.zeros((2, 3, 0, 4), np.float32))
    np.testing.assert_array_equal(shown, images[0, :2])


def test_no_more_point_clouds_are_shown_than_told():
    points = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    for num in (2, 3):
        summary = summaries.ShowPointCloud(point_clouds="p", num_clouds=num)
        shown = summary(point_clouds=points).point_clouds
        np.testing.assert_array_equal(shown, points[:num])
