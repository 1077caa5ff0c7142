"""Curves of runs: names of metrics, thinning, smoothing, drawings."""

from __future__ import annotations

import io
import math
import re

import numpy as np
import pytest

from kauldron.tracking.comparing import curves, figures, run_source, terminal_plots
from kauldron.tracking.registry import records
from tests.tracking.made_up_runs import MadeUpRuns, run

RUNS = [run(1), run(2)]


def _curve(values):
    return records.Curve(steps=tuple(range(len(values))), values=tuple(values))


@pytest.mark.parametrize("name", ["eval.accuracy", "accuracy"])
def test_a_metric_is_found_by_its_name_or_its_end(name):
    found = curves.curves_of(MadeUpRuns(RUNS), RUNS, name)
    assert [(c.run.id, c.metric) for c in found] == [
        ("run_0001", "eval.accuracy"),
        ("run_0002", "eval.accuracy"),
    ]


def test_an_unknown_metric_names_the_nearest_and_an_ambiguous_one_all():
    with pytest.raises(run_source.ComparingError, match=r"mean 'eval\.accuracy'"):
        curves.full_name(RUNS, "eval.acuracy")
    with pytest.raises(run_source.ComparingError, match=r"eval\.xentropy and train\."):
        curves.full_name(RUNS, "xentropy")


def test_thinning_keeps_every_spike_and_both_ends():
    values = np.sin(np.arange(10_000) / 500)
    values[1234], values[7777], values[5000] = 100, -50, math.nan
    thinned = curves.thin(_curve(values.tolist()), max_points=100)
    assert len(thinned.steps) <= 103
    assert thinned.steps[0] == 0
    assert thinned.steps[-1] == 9999
    assert list(thinned.steps) == sorted(thinned.steps)
    assert max(v for v in thinned.values if v == v) == 100
    assert min(v for v in thinned.values if v == v) == -50
    assert 5000 in thinned.steps
    assert all(
        v == values[s] or v != v
        for s, v in zip(thinned.steps, thinned.values, strict=True)
    )


def test_a_short_curve_is_not_thinned():
    curve = _curve([1.0, 2.0])
    assert curves.thin(curve, max_points=2) is curve


def test_smoothing_is_the_weighted_mean_of_what_was_before():
    # By hand, weight 1/2: (1), (1/2*1 + 1*3)/(3/2), (1/4*1 + 1/2*3 + 1*5)/(7/4).
    smooth = curves.smoothed(_curve([1.0, 3.0, math.inf, 5.0]), 0.5)
    assert smooth.values == pytest.approx([1, 7 / 3, math.inf, 6.75 / 1.75])
    with pytest.raises(run_source.ComparingError, match="less than 1: got 1"):
        curves.smoothed(_curve([1.0]), 1.0)


def test_a_terminal_plot_has_the_size_asked_for_and_says_whose_the_curves_are():
    found = curves.curves_of(MadeUpRuns(RUNS), RUNS, "eval.accuracy")
    text = terminal_plots.draw_in_terminal(found, width=60, height=12, colors=False)
    lines = text.splitlines()
    assert len(lines) == 14
    assert max(map(len, lines)) <= 60
    assert lines[0].strip() == "eval.accuracy"
    assert lines[-1] == "── run_0002 digits_2: 0.9138 at step 300"
    assert "\x1b" not in text
    assert "\x1b[38;2;59;130;246m" in terminal_plots.draw_in_terminal(found)


@pytest.mark.parametrize(
    "values", [[], [math.nan, math.inf], [1.0], [5.0, 5.0], [-1.0, 1.0, 0.0]]
)
@pytest.mark.parametrize("log_scale", [False, True])
def test_a_terminal_plot_of_few_or_odd_values_is_drawn(values, log_scale):
    curve = curves.RunCurve(run=run(1), metric="eval.accuracy", curve=_curve(values))
    assert "run_0001" in terminal_plots.draw_in_terminal([curve], log_scale=log_scale)


def test_a_picture_of_curves_shows_each_in_its_colour_on_light_and_dark():
    from PIL import Image

    found = curves.curves_of(MadeUpRuns(RUNS), RUNS, "eval.accuracy")
    for theme in (figures.PAPER, figures.DARK):
        content = figures.to_png(figures.draw_curves(found, theme, size=(4, 2)), theme)
        picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(
            int
        )
        for color in ((59, 130, 246), (245, 158, 11)):
            assert (np.abs(picture[..., :3] - color).sum(axis=-1) < 20).sum() > 100
        assert picture[0, 0, 3] == (255 if theme.background else 0)


def test_ticks_are_round_steps():
    found = curves.curves_of(MadeUpRuns(RUNS), RUNS, "eval.accuracy")
    ticks = terminal_plots.draw_in_terminal(found, width=80, colors=False).splitlines()[
        -3
    ]
    assert re.findall(r"\d+", ticks) == ["0", "100", "200", "300"]
