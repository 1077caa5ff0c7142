"""Images, boxes, segmentations, differences, videos: what is seen, pixel by pixel."""

from __future__ import annotations

import io

import jax
import numpy as np
import pytest
from PIL import Image

from kauldron import summaries

_rng = np.random.default_rng(0)
_images = _rng.random((4, 6, 5, 3)).astype(np.float32)


def _run(summary, *batches):
    """Measures batches under jit, merges, computes."""
    get_state = jax.jit(lambda kwargs: summary.get_state(**kwargs))
    merged = summary.empty()
    for batch in batches:
        merged = merged.merge(get_state(batch))
    return merged.finalize().compute()


def test_first_images_of_the_first_batches_are_shown():
    summary = summaries.ShowImages(images="x", num_images=5)
    shown = _run(summary, {"images": _images}, {"images": _images})
    np.testing.assert_array_equal(shown, np.concatenate([_images, _images[:1]]))


def test_no_image_shows_nothing():
    assert _run(summaries.ShowImages(images="x")) == {}


def test_bytes_and_ranges_become_the_unit_range():
    u8 = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    shown = _run(summaries.ShowImages(images="x"), {"images": u8})
    np.testing.assert_allclose(shown.ravel(), [0, 0.2, 1], rtol=1e-6)
    f32 = np.array([-2, 0, 3], np.float32).reshape(1, 1, 3, 1)
    summary = summaries.ShowImages(images="x", in_vrange=(-1, 1))
    np.testing.assert_array_equal(_run(summary, {"images": f32}).ravel(), [0, 0.5, 1])


_WHITE = {"uint8": 255, "uint16": 65535}
_DTYPES = ["uint8", "uint16", "int8", "int32", "bool", "bfloat16", "float16", "float32"]


@pytest.mark.parametrize("dtype", _DTYPES)
def test_images_of_every_dtype_are_shown_from_black_to_white(dtype):
    white = _WHITE.get(dtype, 1)
    x = (np.array([[0, white], [white, 0]]) * np.ones((3, 2, 2))).astype(dtype)[
        ..., None
    ]
    expected = np.array([[0, 1], [1, 0]])[..., None] * np.ones((3, 2, 2, 1))
    boxes = np.zeros((3, 0, 4))
    ids = np.zeros((3, 2, 2, 1), int)
    shown = {
        "images": _run(summaries.ShowImages(images="x"), {"images": x}),
        "videos": _run(summaries.ShowVideos(videos="x"), {"videos": x[None]}).frames[0],
        "boxes": _run(
            summaries.ShowBoxes(images="x", boxes="b"), {"images": x, "boxes": boxes}
        )[..., :1],
        "segmentations": _run(
            summaries.ShowSegmentations(
                segmentations="s",
                images="x",
                palette=((1.0, 1.0, 1.0),),
                image_contrast=1.0,
            ),
            {"segmentations": ids, "images": x},
        )[..., :1],
    }
    for name, images in shown.items():
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, expected, atol=1e-6, err_msg=name)
    difference = summaries.ShowDifferenceImages(
        images1="x", images2="y", num_images=3, vrange=(-1, 1)
    )
    shown = _run(difference, {"images1": x, "images2": x[:, ::-1]})
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_half_of_white_is_grey_and_more_than_white_is_white():
    for dtype, values in [
        ("uint16", [0, 13107, 65535]),
        ("float16", [-3, 0.2, 700]),
        ("bfloat16", [-np.inf, 0.2, np.inf]),
    ]:
        images = np.array(values).astype(dtype).reshape(1, 1, 3, 1)
        shown = _run(summaries.ShowImages(images="x"), {"images": images})
        # bf16 has 8 bits.
        np.testing.assert_allclose(shown.ravel(), [0, 0.2, 1], atol=1e-3)


@pytest.mark.parametrize("dtype", ["int32", "int16", "uint32"])
def test_integers_of_unknown_range_are_refused_unless_it_is_said(dtype):
    images = np.array([0, 51, 255]).astype(dtype).reshape(1, 1, 3, 1)
    with pytest.raises(
        ValueError, match="values from 0 to 255: what is black and white"
    ):
        _run(summaries.ShowImages(images="x"), {"images": images})
    summary = summaries.ShowImages(images="x", in_vrange=(0, 255))
    shown = _run(summary, {"images": images})
    np.testing.assert_allclose(shown.ravel(), [0, 0.2, 1], rtol=1e-6)


def test_pixels_that_are_nan_are_black():
    images = np.array([np.nan, 0.5, np.inf, -np.inf], np.float32).reshape(1, 2, 2, 1)
    for options in ({}, {"in_vrange": (0, 1)}):
        shown = _run(summaries.ShowImages(images="x", **options), {"images": images})
        np.testing.assert_array_equal(shown.ravel(), [0, 0.5, 1, 0])
    summary = summaries.ShowDifferenceImages(images1="a", images2="b", num_images=1)
    other = np.array([0.5, 0, np.inf, 0], np.float32).reshape(1, 2, 2, 1)
    shown = _run(summary, {"images1": images, "images2": other})
    np.testing.assert_array_equal(shown.ravel(), [0, 1, 0, 0])


_no_boxes = {"images": _images[:0], "boxes": np.zeros((0, 2, 4))}


@pytest.mark.parametrize(
    ("summary", "empty"),
    [
        (summaries.ShowImages(images="x"), {"images": _images[:0]}),
        (
            summaries.ShowDifferenceImages(images1="a", images2="b", num_images=2),
            {"images1": _images[:0], "images2": _images[:0]},
        ),
        (summaries.ShowVideos(videos="x"), {"videos": _images[None][:0]}),
        (summaries.ShowBoxes(images="i", boxes="b"), _no_boxes),
        (
            summaries.ShowSegmentations(segmentations="s"),
            {"segmentations": np.zeros((0, 4, 4, 1), int)},
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_an_empty_batch_shows_nothing(summary, empty):
    assert _run(summary, empty) == {}
    full = {k: np.ones((1, *v.shape[1:]), v.dtype) for k, v in empty.items()}
    shown = _run(summary, empty, full)
    assert len(shown.frames if isinstance(shown, summaries.Video) else shown) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: summaries.ShowImages(in_vrange=(1, 1)),
        lambda: summaries.ShowVideos(in_vrange=(0, np.nan)),
        lambda: summaries.ShowBoxes(in_vrange=(0, 0)),
        lambda: summaries.ShowDifferenceImages(num_images=1, vrange=(0.5, 0.5)),
    ],
)
def test_ranges_without_width_are_refused(make):
    with pytest.raises(
        ValueError, match="must be two different numbers, black and white"
    ):
        make()


def test_pattern_arranges_images():
    video = _rng.random((2, 3, 4, 5, 1)).astype(np.float32)
    summary = summaries.ShowImages(
        images="x",
        rearrange="b (s t) h w c -> b h (s t w) c",
        rearrange_kwargs={"s": 1},
    )
    shown = _run(summary, {"images": video})
    np.testing.assert_array_equal(shown[1, :, 5:10], video[1, 1])


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (2, 4, 4, 2), r"1 or 3 channels: the shape is \(2, 4, 4, 2\)"),
        ({}, (4,), r"shape \(4,\) does not fit"),
        ({"rearrange": "b h w -> b h w 1"}, (2, 4, 4, 3), "does not fit"),
        ({"cmap": "viridis"}, (2, 4, 4, 3), "needs images of one channel: got 3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_image_is_refused(options, shape, message):
    summary = summaries.ShowImages(images="batch.x", **options)
    with pytest.raises(ValueError, match=message):
        summary.get_state(images=np.zeros(shape, np.float32))


def test_colour_map_colours_one_channel():
    matplotlib = pytest.importorskip("matplotlib")
    summary = summaries.ShowImages(images="x", cmap="viridis")
    gray = _images[..., :1]
    expected = matplotlib.colormaps["viridis"](gray[..., 0])[..., :3]
    np.testing.assert_allclose(_run(summary, {"images": gray}), expected, atol=1e-6)


def test_difference_is_grey_where_images_agree():
    a, b = np.zeros((2, 1, 1, 3, 1), np.float32)
    a[..., 0, 0], b[..., 2, 0] = 0.5, 0.25
    summary = summaries.ShowDifferenceImages(images1="a", images2="b", num_images=3)
    shown = _run(summary, {"images1": a, "images2": b})
    np.testing.assert_allclose(shown.ravel(), [1, 0.5, 0.25], rtol=1e-6)
    summary = summaries.ShowDifferenceImages(
        images1="a", images2="b", num_images=3, vrange=(0, 1)
    )
    shown = _run(summary, {"images1": a, "images2": b})
    np.testing.assert_allclose(shown.ravel(), [0.5, 0, 0], rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_difference_of_other_shapes_is_refused():
    summary = summaries.ShowDifferenceImages(images1="a", images2="b", num_images=3)
    with pytest.raises(ValueError, match="same shape"):
        summary.get_state(images1=_images, images2=_images[:1])


def test_boxes_are_framed_where_they_exist():
    images = np.zeros((2, 8, 10, 1), np.float32)
    boxes = np.array([[[0.25, 0.2, 0.75, 0.6], [0, 0, 1, 1]]] * 2, np.float32)
    mask = np.array([[1, 0], [1, 1]])
    summary = summaries.ShowBoxes(images="i", boxes="b", boxes_mask="m")
    shown = _run(summary, {"images": images, "boxes": boxes, "boxes_mask": mask})
    expected = np.zeros((8, 10), bool)
    expected[[2, 5], 2:6] = True
    expected[2:6, [2, 5]] = True
    np.testing.assert_array_equal(shown[0].any(-1), expected)
    color = shown[0, 2, 2]
    assert (shown[0][expected] == color).all()
    other = shown[1, 0, 0]
    assert np.abs(color - other).max() > 0.2
    assert (shown[1, [0, -1]] == other).all()


def test_frames_in_large_images_are_thick_enough_to_be_seen():
    images = np.zeros((1, 300, 400, 3), np.float32)
    box = np.array([[[0.25, 0.25, 0.75, 0.75]]], np.float32)
    shown = _run(
        summaries.ShowBoxes(images="i", boxes="b"), {"images": images, "boxes": box}
    )
    is_frame = shown[0].any(-1)
    assert is_frame[75:225, 100:300].all(axis=1).sum() == 2 * 2
    assert is_frame[100].nonzero()[0].tolist() == [100, 101, 298, 299]
    assert is_frame.sum() == 2 * 2 * 200 + 2 * 2 * (150 - 4)


def test_boxes_are_drawn_before_images_are_arranged():
    images = np.zeros((2, 3, 4, 4, 3), np.float32)
    boxes = np.broadcast_to(np.array([0, 0, 1, 1], np.float32), (2, 3, 1, 4))
    summary = summaries.ShowBoxes(
        images="i", boxes="b", rearrange="b t h w c -> b h (t w) c"
    )
    shown = _run(summary, {"images": images, "boxes": boxes})
    assert shown.shape == (2, 4, 12, 3)
    assert (shown[:, 1].any(-1) == np.tile([True, False, False, True], 3)).all()


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([0.5, 0.2, 3, 0.6], [4, 7], [2, 5]),  # beyond the bottom: drawn at the border
        ([-1, -1, 2, 2], [0, 7], [0, 9]),
        ([0, 0, 1, 1], [0, 7], [0, 9]),
        ([1, 0, 1.5, 1], [], []),
        ([1.2, 1.2, 1.5, 1.5], [], []),
        ([-0.5, 0.2, 0, 0.5], [], []),
        ([-1, -1, -0.5, -0.5], [], []),
        ([0.2, 0.5, np.inf, 1], [], []),
        ([0.9, 0.9, 0.1, 0.1], [], []),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_boxes_are_seen_as_far_as_they_are_in_the_image(box, rows, columns, dtype):
    images, boxes = np.zeros((1, 8, 10, 1), np.float32), np.array([[box]], dtype)
    summary = summaries.ShowBoxes(images="i", boxes="b")
    shown = _run(summary, {"images": images, "boxes": boxes})[0].any(-1)
    for axis, expected in [(1, rows), (0, columns)]:
        at = shown.any(axis).nonzero()[0].tolist()
        assert (at and [at[0], at[-1]]) == expected


def test_image_without_boxes_is_shown_as_it_is():
    summary = summaries.ShowBoxes(images="i", boxes="b")
    shown = _run(summary, {"images": _images, "boxes": np.zeros((4, 0, 4))})
    np.testing.assert_array_equal(shown, _images)


def test_colours_of_boxes_begin_again():
    images = np.zeros((1, 1, 3, 1), np.float32)
    boxes = np.array([[[0, i / 3, 1, (i + 1) / 3] for i in range(3)]], np.float32)
    summary = summaries.ShowBoxes(images="i", boxes="b", num_colors=2)
    [[colors]] = _run(summary, {"images": images, "boxes": boxes})
    np.testing.assert_array_equal(colors[0], colors[2])
    assert np.abs(colors[0] - colors[1]).max() > 0.2


@pytest.mark.parametrize("box", [[-1, -1, 2, 2], [0.9, 0.9, 0.1, 0.1], [np.nan] * 4])
def test_boxes_outside_do_no_harm(box):
    summary = summaries.ShowBoxes(images="i", boxes="b")
    shown = _run(summary, {"images": _images, "boxes": np.full((4, 1, 4), box)})
    assert shown.shape == _images.shape


@pytest.mark.usefixtures("unchecked")
def test_boxes_of_another_batch_are_refused():
    summary = summaries.ShowBoxes(images="i", boxes="b")
    with pytest.raises(ValueError, match=r"boxes `\[\*b n 4\]`"):
        summary.get_state(images=_images, boxes=np.zeros((3, 1, 4)))


_PALETTE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_classes_have_the_colours_of_the_palette():
    labels = np.array([[0, 1], [2, 3]]).reshape(1, 2, 2, 1)
    summary = summaries.ShowSegmentations(segmentations="s", palette=_PALETTE)
    shown = _run(summary, {"segmentations": labels})
    np.testing.assert_array_equal(shown[0, 0], _PALETTE[:2])
    np.testing.assert_array_equal(shown[0, 1], [_PALETTE[2], _PALETTE[0]])


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "uint16", "int32", "float32", "bool"]
)
def test_colours_of_ids_do_not_depend_on_their_dtype(dtype):
    labels = np.array([0, 1, 1, 0] if dtype == "bool" else [0, 1, 7, 100])
    expected = np.array([_PALETTE[i % 3] for i in labels]).reshape(1, 2, 2, 3)
    summary = summaries.ShowSegmentations(segmentations="s", palette=_PALETTE)
    ids = labels.astype(dtype).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(_run(summary, {"segmentations": ids}), expected)


@pytest.mark.parametrize("palette", [None, _PALETTE, "viridis"])
def test_what_is_not_labelled_is_black_and_the_largest_id_needs_no_palette(palette):
    if isinstance(palette, str):
        pytest.importorskip("matplotlib")
    ids = np.array([-1, 0, 2**31 - 1, -100]).reshape(1, 2, 2, 1)
    summary = summaries.ShowSegmentations(segmentations="s", palette=palette)
    shown = _run(summary, {"segmentations": ids}).reshape(4, 3)
    np.testing.assert_array_equal(shown[[0, 3]], 0)
    assert (shown[[1, 2]].max(-1) > 0.3).all()
    assert np.abs(shown[1] - shown[2]).max() > 0.1


def test_an_id_has_the_same_colour_whatever_else_is_shown():
    summary = summaries.ShowSegmentations(segmentations="s")
    few, many = (
        _run(summary, {"segmentations": np.array(x).reshape(1, 1, -1, 1)})[0, 0, :2]
        for x in ([3, 5], [3, 5, 255])
    )
    np.testing.assert_array_equal(few, many)


@pytest.mark.parametrize("options", [{}, {"hard": True}, {"entropy": True}])
def test_undefined_probabilities_are_black(options):
    probs = np.array([[np.nan] * 3, [0, 1, 0]], np.float32).reshape(1, 1, 2, 3)
    summary = summaries.ShowSegmentations(
        segmentations="s", palette=_PALETTE, **options
    )
    shown = _run(summary, {"segmentations": probs})
    np.testing.assert_allclose(shown[0, 0], [[0, 0, 0], _PALETTE[1]], atol=1e-6)


def test_probabilities_mix_colours_unless_hard():
    probs = np.array([0.5, 0.3, 0.2], np.float32).reshape(1, 1, 1, 3)
    shown = {
        options: _run(
            summaries.ShowSegmentations(
                segmentations="s", palette=_PALETTE, **dict.fromkeys(options, True)
            ),
            {"segmentations": probs},
        ).ravel()
        for options in [(), ("hard",), ("entropy",)]
    }
    np.testing.assert_allclose(shown[()], [0.5, 0.3, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(shown[("hard",)], [1, 0, 0])
    entropy = -(probs * np.log(probs)).sum() / np.log(3)
    np.testing.assert_allclose(
        shown[("entropy",)], probs.ravel() * (1 - entropy), rtol=1e-5
    )


def test_edges_are_drawn_between_classes():
    labels = np.zeros((1, 4, 4, 1), int)
    labels[:, :, 2:] = 1
    summary = summaries.ShowSegmentations(
        segmentations="s", palette=_PALETTE, edges=True, edge_lightness=0.5
    )
    shown = _run(summary, {"segmentations": labels})
    is_edge = (shown[0] == 0.5).all(-1)
    np.testing.assert_array_equal(is_edge, np.arange(4)[None] == np.ones((4, 1)))


def test_segmentation_lies_over_the_image():
    labels = np.zeros((1, 1, 2, 1), int)
    images = np.array([0, 1], np.float32).reshape(1, 1, 2, 1)
    summary = summaries.ShowSegmentations(
        segmentations="s", images="i", palette=_PALETTE, image_contrast=0.6
    )
    shown = _run(summary, {"segmentations": labels, "images": images})
    np.testing.assert_allclose(shown[0, 0, :, 0], [0.4, 1], rtol=1e-6)


def test_neighbouring_classes_are_told_apart_without_a_palette():
    labels = np.arange(12).reshape(1, 3, 4, 1)
    summary = summaries.ShowSegmentations(segmentations="s")
    colors = _run(summary, {"segmentations": labels}).reshape(12, 3)
    distances = np.abs(colors[:, None] - colors).max(-1) + np.eye(12)
    assert distances.min() > 0.1


def test_several_channels_of_ids_are_refused():
    summary = summaries.ShowSegmentations(segmentations="s")
    with pytest.raises(ValueError, match="class ids"):
        summary.get_state(segmentations=np.zeros((1, 2, 2, 3), int))


def test_video_can_be_a_gif_or_frames_side_by_side():
    frames = _rng.random((2, 3, 4, 5, 3)).astype(np.float32)
    summary = summaries.ShowVideos(videos="v", fps=20)
    video = _run(summary, {"videos": frames})
    np.testing.assert_array_equal(video.frames, frames[:1])
    np.testing.assert_array_equal(video.as_images()[0, :, 5:10], frames[0, 1])
    [gif] = video.to_gifs()
    with Image.open(io.BytesIO(gif)) as image:
        assert (image.n_frames, image.size, image.info["duration"]) == (3, (5, 4), 50)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_video_is_refused():
    with pytest.raises(ValueError, match=r"`\[\*b t h w 1\|3\]`"):
        summaries.ShowVideos(videos="v").get_state(videos=np.zeros((4, 4, 3)))


def test_no_more_images_are_kept_than_shown_also_of_one_batch():
    for num in (1, 3):
        summary = summaries.ShowImages(images="x", num_images=num)
        np.testing.assert_array_equal(_run(summary, {"images": _images}), _images[:num])


@pytest.mark.parametrize(
    ("summary", "inputs"),
    [
        (summaries.ShowImages(images="x", num_images=2), {"images": _images}),
        (
            summaries.ShowDifferenceImages(images1="a", images2="b", num_images=2),
            {"images1": _images, "images2": _images},
        ),
        (summaries.ShowVideos(videos="v", num_videos=2), {"videos": _images[:, None]}),
        (
            summaries.ShowSegmentations(segmentations="s", num_images=2),
            {"segmentations": _images},
        ),
        (
            summaries.ShowBoxes(images="i", boxes="b", num_images=2),
            {"images": _images, "boxes": np.zeros((4, 1, 4), np.float32)},
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_no_more_leaves_the_devices_than_is_shown(summary, inputs):
    state = jax.jit(lambda kwargs: summary.get_state(**kwargs))(inputs)
    assert {len(x) for x in jax.tree.leaves(state)} == {2}
    shown = summary.get_state(**inputs).finalize().compute()
    assert len(getattr(shown, "frames", shown)) == 2


def test_white_may_be_less_than_black():
    x = np.array([-2, -1, 0, 3], np.float32).reshape(1, 1, 4, 1)
    summary = summaries.ShowImages(images="x", in_vrange=(1, -1))
    shown = _run(summary, {"images": x}).ravel()
    np.testing.assert_array_equal(shown, [1, 1, 0.5, 0])


def test_difference_of_images_all_on_one_side_has_its_middle_in_grey():
    a = np.array([0.2, 0.4, 0.0, np.nan], np.float32).reshape(1, 1, 4, 1)
    summary = summaries.ShowDifferenceImages(images1="a", images2="b", num_images=1)
    shown = _run(summary, {"images1": a, "images2": np.zeros_like(a)})
    np.testing.assert_allclose(shown.ravel(), [0.75, 1, 0.5, 0], rtol=1e-6)


def test_edges_between_rows_are_drawn_in_the_grey_that_is_told():
    labels = np.zeros((1, 4, 3, 1), int)
    labels[:, 1:] = 1
    for lightness in (0.0, 0.75):
        summary = summaries.ShowSegmentations(
            segmentations="s", palette=_PALETTE, edges=True, edge_lightness=lightness
        )
        shown = _run(summary, {"segmentations": labels})
        np.testing.assert_array_equal(shown[0, 0], lightness)
        np.testing.assert_array_equal(shown[0, 1:], [[_PALETTE[1]] * 3] * 3)


def test_greys_of_a_gif_are_rounded():
    frames = np.full((1, 2, 2, 2, 1), 0.6 / 255, np.float32)
    [gif] = summaries.Video(frames=frames).to_gifs()
    with Image.open(io.BytesIO(gif)) as image:
        assert np.asarray(image.convert("L")).tolist() == [[1, 1], [1, 1]]
