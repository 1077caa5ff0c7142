"""Summaries of contrib: what they show, over several batches."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd

S = kd.contrib.summaries
RNG = np.random.default_rng(0)
CONTEXT = {
    "batch": {"image": RNG.random((4, 3, 2, 1)).astype(np.float32)},
    "preds": {"image": RNG.random((4, 3, 5, 3)).astype(np.float32)},
}


def test_a_grid_has_its_columns_side_by_side():
    grid = S.ImageGrid.simple(
        columns={"input": "batch.image", "output": "preds.image"}, num_images=3
    )
    shown = grid(context=CONTEXT)
    left, right = CONTEXT["batch"]["image"], CONTEXT["preds"]["image"]
    assert shown.shape == (3, 3, 7, 3)
    np.testing.assert_array_equal(shown[..., :2, :], np.repeat(left[:3], 3, -1))
    np.testing.assert_array_equal(shown[..., 2:, :], right[:3])


def test_a_grid_takes_images_of_several_batches():
    grid = S.ImageGrid.simple(columns={"a": "batch.image"}, num_images=6)
    states = [grid.get_state_from_context(CONTEXT) for _ in range(2)]
    shown = grid.empty().merge(states[0]).merge(states[1]).finalize().compute()
    image = CONTEXT["batch"]["image"]
    np.testing.assert_array_equal(shown, np.concatenate([image, image[:2]]))
    assert grid.empty().finalize().compute() == {}


def test_a_grid_tells_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one column"):
        S.ImageGrid(columns={})
    grid = S.ImageGrid.simple(columns={"a": "batch.image", "b": "preds.flat"})
    other = {**CONTEXT, "preds": {"flat": np.zeros((4, 1, 2, 1), np.float32)}}
    with pytest.raises(ValueError, match=r"one height: got \{'a': 3, 'b': 1\}"):
        grid(context=other)
    with pytest.raises(KeyError, match=r"batch\.imag"):
        S.ImageGrid.simple(columns={"a": "batch.imag"})(context=CONTEXT)


def test_columns_of_a_grid_may_be_any_summary_of_images():
    difference = kd.summaries.ShowDifferenceImages(
        images1="batch.image", images2="batch.image", num_images=2, vrange=(-1, 1)
    )
    grid = S.ImageGrid(
        columns={"a": kd.summaries.ShowImages(images="batch.image"), "b": difference}
    )
    shown = grid(context=CONTEXT)
    assert shown.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(shown[..., 2:, :], 0.5)


def test_values_are_printed_and_written(capsys):
    summary = S.Print(value="batch.x", first_n=2)
    text = summary(value=np.array([[1, 2], [3, 4], [5, 6]]))
    assert text == "batch.x: [[1 2]\n [3 4]]"
    assert capsys.readouterr().err == text + "\n"
    assert S.Print(value="x")(value=np.float32(1.5)) == "x: [1.5]"
    with pytest.raises(ValueError, match="at least 1"):
        S.Print(value="x", first_n=0)


def test_a_confusion_matrix_takes_sample_weights():
    logits, labels = np.eye(3)[[0, 1, 1, 2]], np.array([0, 1, 2, 2])[:, None]
    weights = np.array([1, 1, 0, 1])[:, None]
    ours = S.ConfusionMatrix(
        logits="l", labels="y", sample_weight="w", normalize="true"
    )
    core = kd.summaries.ConfusionMatrix(
        logits="l", labels="y", mask="w", normalize="true"
    )
    shown = ours(logits=logits, labels=labels, sample_weight=weights)
    expected = core(logits=logits, labels=labels, mask=weights)
    np.testing.assert_array_equal(shown, expected)
    with pytest.raises(ValueError, match="are the same"):
        ours(logits=logits, labels=labels, sample_weight=weights, mask=weights)
