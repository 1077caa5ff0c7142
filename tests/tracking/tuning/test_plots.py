"""Pictures of a study: which there are, and what they show."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from kauldron import kd
from kauldron.tracking.tuning import _history, _plots, _space, _values

tune = kd.tracking.tune

_TEXTS = [
    "rate=float(1e-4,1e-1,log)",
    "act=choice(relu,gelu)",
    "n=int(1,3) if act=gelu",
]


def _overview(num_trials: int) -> tune.StudyOverview:
    trials = []
    for i in range(num_trials):
        overrides = {"rate": repr(10.0 ** (i % 4 - 4)), "act": "relu"}
        if i % 3 == 0:
            overrides |= {"act": "gelu", "n": str(1 + i % 2)}
        trials.append(
            _history.StudyTrial(
                number=i,
                name=f"t{i}",
                workdir="",
                overrides=overrides,
                state="pruned" if i % 5 == 4 else "done",
                values={1: i % 4 / 4},
                best=i % 4 / 4,
                best_step=1,
            )
        )
    space = _space.Space(tune.parse_space(_TEXTS))
    return tune.StudyOverview(
        workdir="runs/tune",
        config="c.py",
        space=space.as_dict(),
        labels={path: path for path in space.values},
        metric="eval.accuracy",
        mode="max",
        num_trials=num_trials,
        trials=tuple(trials),
    )


def test_three_pictures_are_written_from_four_trials_on(tmp_path):
    paths = tune.plot(_overview(12), str(tmp_path / "plots"))
    names = [path.rpartition("/")[2] for path in paths]
    assert names == ["history.png", "parallel.png", "importance.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) >= 400
            assert len(picture.convert("L").histogram()) == 256
            assert picture.convert("L").getextrema()[0] < 50  # something is drawn
    assert len(tune.plot(_overview(3), str(tmp_path / "few"))) == 2


def test_what_decides_is_the_rate_and_shares_add_up_to_one():
    shares = _overview(24).importance()
    assert set(shares) == {"rate", "act"}  # `n` is not set in all of them
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rate"] > 0.8
    equal = dataclasses.replace(_overview(3), trials=_overview(3).trials)
    assert equal.importance() == {}


def test_values_stand_where_their_axis_says():
    rate, act, n = tune.parse_space(_TEXTS).values()
    assert isinstance(rate, _values.Float)
    assert _plots._height(rate, 1e-3) == pytest.approx(1 / 3)
    assert _plots._height(act, "gelu") == 1.0
    assert _plots._height(n, 2) == 0.5


def test_nothing_measured_is_nothing_to_show(tmp_path):
    with pytest.raises(tune.StudyError, match="nothing to show"):
        tune.plot(_overview(0), str(tmp_path))
