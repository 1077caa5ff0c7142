"""Histograms, point clouds, texts, confusion matrices, figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kauldron import summaries
from kauldron.summaries import _confusion
from tests.summaries.test_pictures import _run

_rng = np.random.default_rng(0)


def test_histogram_has_all_values_of_all_batches():
    a, b = _rng.normal(size=(2, 3, 4)).astype(np.float32)
    summary = summaries.HistogramSummary(tensor="x", num_buckets=7)
    histogram = _run(summary, {"tensor": a}, {"tensor": b})
    counts, edges = histogram.bins()
    expected = np.histogram(np.concatenate([a, b]), bins=7)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_allclose(edges, expected[1], rtol=1e-6)


def test_histogram_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"key 'x' has shape \(0, 3\)"):
        summaries.HistogramSummary(tensor="x").get_state(tensor=np.zeros((0, 3)))
    with pytest.raises(ValueError, match="needs values"):
        summaries.Histogram(np.zeros(0))
    assert summaries.Histogram(np.array([1, np.nan, np.inf])).bins()[0].sum() == 1


_MAX = np.finfo(np.float64).max


@pytest.mark.parametrize(
    "values",
    [
        [1e17] * 3,
        [-1e17] * 3,
        [1e17, 1e17 + 16],
        [-1.7e308, 1.7e308],
        [-_MAX, _MAX],
        [_MAX] * 2,
        [-_MAX, -_MAX, 0.0],
        [0.0] * 4,
        [1.0, 1.0 + 1e-16, 1 + 4e-16],
        [5e-324, 0.0],
        [1e-300, 2e-300],
        [0.1, 0.2, 0.7, np.nan, -np.inf],
        [2.0**63, 1.0],
    ],
    ids=str,
)
@pytest.mark.parametrize("num_buckets", [1, 30])
def test_every_finite_value_is_in_a_bucket(values, num_buckets):
    values = np.array(values)
    counts, edges = summaries.Histogram(values, num_buckets=num_buckets).bins()
    assert counts.shape == (num_buckets,) and edges.shape == (num_buckets + 1,)
    assert np.isfinite(edges).all() and (edges[1:] > edges[:-1]).all()
    finite = values[np.isfinite(values)]
    assert counts.sum() == len(finite)
    # By hand: half-open buckets, the last one closed.
    at = np.minimum(np.searchsorted(edges, finite, side="right") - 1, num_buckets - 1)
    np.testing.assert_array_equal(counts, np.bincount(at, minlength=num_buckets))


@pytest.mark.parametrize("values", [[np.nan] * 3, [np.inf, -np.inf]])
def test_histogram_of_no_finite_value_is_empty(values):
    counts, edges = summaries.Histogram(np.array(values)).bins()
    assert counts.sum() == 0 and (np.diff(edges) > 0).all()


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int64", "bfloat16", "float16"]
)
def test_histogram_of_every_dtype_is_that_of_the_numbers(dtype):
    values = np.array([0, 1, 1, 0, 1] if dtype == "bool" else [1, 2, 2, 100, 3])
    summary = summaries.HistogramSummary(tensor="x", num_buckets=5)
    counts, edges = _run(summary, {"tensor": values.astype(dtype)}).bins()
    expected = np.histogram(values, bins=5)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_allclose(edges, expected[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "colors", "expected"),
    [
        ("uint8", [0, 128, 255], [0, 128, 255]),
        ("uint16", [0, 128, 300], [0, 128, 255]),
        ("int32", [-5, 128, 255], [0, 128, 255]),
        ("float32", [np.nan, 0.5, 2.0], [0, 128, 255]),
        ("bfloat16", [-1, 0.5, 1], [0, 128, 255]),
        ("bool", [0, 1, 1], [0, 255, 255]),
    ],
)
def test_colours_of_points_may_be_of_any_dtype(dtype, colors, expected):
    summary = summaries.ShowPointCloud(point_clouds="p", point_colors="c")
    colors = np.array(colors).astype(dtype).reshape(1, 1, 3)
    cloud = _run(summary, {"point_clouds": np.zeros((1, 1, 3)), "point_colors": colors})
    np.testing.assert_array_equal(cloud.point_colors.ravel(), expected)


def test_matrix_with_undefined_cells_is_drawn():
    picture = _confusion.draw_matrix(
        np.array([[np.nan, np.nan], [0.25, 0.75]]), ("a", "b")
    )
    assert np.isfinite(picture).all()
    size = picture.shape[0]
    cells = picture.mean(-1)[size - 80 :, size - 80 :][[2, 42]][:, [2, 42]]
    assert cells[0, 0] == cells[0, 1] == 1 > cells[1, 0] > cells[1, 1]


def test_point_clouds_are_thinned_evenly():
    points = _rng.normal(size=(2, 3, 9, 3)).astype(np.float32)
    summary = summaries.ShowPointCloud(
        point_clouds="p", point_colors="c", num_points=3, configs={"size": 2}
    )
    cloud = _run(
        summary, {"point_clouds": points, "point_colors": np.ones(points.shape)}
    )
    flat = points.reshape(6, 9, 3)
    np.testing.assert_array_equal(cloud.point_clouds, flat[:5, [0, 4, 8]])
    assert (cloud.point_colors == 255).all()
    assert cloud.point_colors.dtype == np.uint8
    assert cloud.configs == {"size": 2}


def test_points_without_three_coordinates_are_refused():
    with pytest.raises(ValueError, match=r"`\[\*b n 3\]`"):
        summaries.ShowPointCloud(point_clouds="p").get_state(
            point_clouds=np.zeros((4, 2))
        )
    with pytest.raises(ValueError, match="needs a colour"):
        summaries.PointCloud(np.zeros((1, 4, 3)), np.zeros((1, 3, 3)))


def test_texts_of_batches_of_any_length_are_shown():
    summary = summaries.ShowTexts(texts="t", num_texts=3)
    state = summary.get_state(texts=np.array(["a", "long ü"]))
    state = state.merge(summary.get_state(texts=["b", "c"]))
    assert list(state.finalize().compute()) == ["a", "long ü", "b"]


def test_texts_as_bytes_pass_through_jit():
    texts = ["näh", "b", ""]
    rows = [np.frombuffer(t.encode().ljust(6, b"\0"), np.uint8) for t in texts]
    summary = summaries.ShowTexts(texts="t")
    assert list(_run(summary, {"texts": np.stack(rows)})) == texts


def test_numbers_are_no_texts():
    with pytest.raises(ValueError, match="needs strings"):
        summaries.ShowTexts(texts="t").get_state(texts=np.zeros(3))


def test_confusion_matrix_is_darker_where_there_is_more():
    labels = np.array([0, 0, 0, 1])[:, None]
    summary = summaries.ConfusionMatrix(
        pred_labels="p", labels="t", class_names=("cat", "dog"), num_classes=2
    )
    batch = {"pred_labels": labels, "labels": labels}
    [picture] = _run(summary, batch, batch)
    assert picture.min() >= 0 and picture.max() == 1
    size = picture.shape[0]
    cells = picture.mean(-1)[size - 80 :, size - 80 :][[2, 42]][:, [2, 42]]
    assert cells[0, 0] < cells[1, 1] < cells[0, 1] == cells[1, 0] == 1


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        (None, [[1, 0, 0], [0, 2, 0], [0, 0, 0]]),
        ("true", [[1 / 2, 0, 0], [0, 1, 0], [np.nan] * 3]),
        ("pred", [[1, 0, np.nan], [0, 1, np.nan], [0, 0, np.nan]]),
        ("all", [[1 / 4, 0, 0], [0, 1 / 2, 0], [0, 0, 0]]),
    ],
)
def test_confusion_matrix_of_nan_scores_and_absent_classes(normalize, expected):
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]]
    logits[1, 2] = np.nan
    summary = summaries.ConfusionMatrix(logits="l", labels="t", normalize=normalize)
    batch = {"logits": logits, "labels": np.array([0, 0, 1, 1])[:, None]}
    [picture] = _run(summary, batch)
    drawn = _confusion.draw_matrix(np.array(expected, float), ("0", "1", "2"))
    np.testing.assert_array_equal(picture, drawn)


def test_numbers_and_names_of_a_confusion_matrix_have_room():
    def draw(counts, names):
        summary = summaries.ConfusionMatrix(pred_labels="p", labels="t")
        summary = dataclasses.replace(
            summary, num_classes=len(counts), class_names=names
        )
        counts = np.pad(counts, ((0, 0), (0, 1)))  # nothing predicted as no class
        return summary.State(counts=counts, parent=summary).compute()[0]

    counts = np.array([[3, 12345678], [0, 5]])
    assert len(draw(counts, ("a", "b"))) >= len(draw(counts % 9, ("a", "b"))) + 2 * 16
    # Long names stand on end: no ink of the first one above the second column.
    picture = draw(counts % 9, ("a" * 30, "b"))
    above = picture[:-80, -80:].min(axis=(0, 2))
    assert above[5:35].min() < 0.5
    assert (above[40:55] == 1).all()
    # Many classes: shades alone, in a picture that can still be shown.
    assert len(draw(np.eye(100), tuple(map(str, range(100))))) < 2000


def test_class_names_must_be_as_many_as_classes():
    summary = summaries.ConfusionMatrix(logits="l", labels="t", class_names=("a",))
    batch = {"logits": np.eye(2, dtype=np.float32), "labels": np.zeros((2, 1), int)}
    with pytest.raises(ValueError, match="2 classes: got 1"):
        _run(summary, batch)


def test_figure_of_a_function_is_an_image():
    figure = pytest.importorskip("matplotlib.figure")

    def draw(x):
        assert x.shape == (4, 2)
        fig = figure.Figure(figsize=(2, 1))
        fig.patch.set_facecolor((1, 0, 0))
        return fig

    summary = summaries.ShowFigure(
        function=draw, inputs={"x": "batch.x"}, num_examples=4, dpi=50
    )
    state = summary.get_state_from_context({"batch": {"x": np.zeros((3, 2))}})
    shown = state.merge(state).finalize().compute()
    assert shown.shape == (1, 50, 100, 3)
    np.testing.assert_array_equal(shown[0, 0, 0], [1, 0, 0])


def test_function_that_returns_no_figure_is_refused():
    pytest.importorskip("matplotlib")
    summary = summaries.ShowFigure(function=lambda x: 3, inputs={"x": "x"})
    with pytest.raises(TypeError, match="must return a matplotlib Figure: got int"):
        summary(context={"x": np.zeros(3)})


@pytest.mark.parametrize("name", ["Summary", "ImageSummary"])
def test_older_bases_say_what_to_use(name):
    with pytest.raises(RuntimeError, match="ShowImages"):
        getattr(summaries.deprecated, name)()


def test_buckets_of_one_value_reach_half_to_both_sides():
    counts, edges = summaries.Histogram(np.full(3, 2.0), num_buckets=4).bins()
    np.testing.assert_array_equal(edges, [1.5, 1.75, 2.0, 2.25, 2.5])
    np.testing.assert_array_equal(counts, [0, 0, 3, 0])


def test_infinities_widen_no_bucket_of_a_histogram():
    values = np.array([0.0, np.inf, 1.0, -np.inf, 2.0, np.nan, 4.0])
    counts, edges = summaries.Histogram(tensor=values, num_buckets=4).bins()
    np.testing.assert_array_equal(edges, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(counts, [1, 1, 1, 1])
