"""What the minute of benchmarks calls a regression, with numbers that are made up."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import clocks, quick, regressions


def _check(tries, recorded=(1.0, 1.0)):
    """Returns failures and lines, where a benchmark gives these ratios, one a try."""
    lines, left = [], [clocks.Secs(*x) for x in tries]
    known = {"loop": clocks.Secs(*recorded)._asdict()}
    failures = regressions.check(
        {"loop": lambda: left.pop(0)}, known, tell=lines.append
    )
    assert not left, "it was not measured again"
    return failures, lines


def test_less_than_twice_as_slow_is_what_a_shared_machine_does():
    failures, lines = _check([(1.99, 1.99)])
    assert failures == []
    assert lines == [
        "loop                            1.99 x its baseline (1.00 recorded), "
        "processor time 1.99 (1.00)"
    ]


def test_more_than_twice_as_slow_fails_and_says_by_how_much():
    failures, lines = _check([(6.0, 3.0), (5.0, 4.0)], recorded=(2.0, 1.25))
    assert failures == [
        "loop has become 2.5 x slower by wall time: the ratio to its baseline was 2.00, "
        "and is 5.00. If that is meant, run `make bench-record`; else look at what has "
        "changed.",
        "loop has become 2.4 x slower by processor time: the ratio to its baseline was "
        "1.25, and is 3.00. If that is meant, run `make bench-record`; else look at what "
        "has changed.",
    ]
    assert len(lines) == 2 and lines[1].endswith("(once more)")


@pytest.mark.parametrize(
    ("tries", "clock"),
    [
        ([(1, 2.5), (1, 2.5)], "processor"),  # work that other cores hide
        ([(2.5, 1), (2.5, 1)], "wall"),  # waiting
    ],
)
def test_one_clock_is_enough(tries, clock):
    (failure,) = _check(tries)[0]
    assert f"slower by {clock} time" in failure


def test_what_happens_in_one_of_two_tries_is_the_machine():
    assert _check([(9, 9), (1, 1)])[0] == []
    assert _check([(9, 1), (1, 9)])[0] == []


def test_ratio_that_is_no_number_fails():
    assert len(_check([(float("nan"), 1), (float("nan"), 1)])[0]) == 1


def test_faster_is_fine():
    assert _check([(0.1, 0.1)])[0] == []


def test_benchmarks_and_records_belong_together():
    one = clocks.Secs(1, 1)
    failures = regressions.check({"new": lambda: one}, {"old": one._asdict()})
    assert failures == [
        "old is recorded and no longer measured: remove it by --record.",
        "new is not recorded: add it by --record.",
    ]


def test_every_benchmark_is_recorded_with_sound_ratios():
    recorded = json.loads(quick.RECORDED.read_text())
    assert set(recorded) == set(quick.MEASURES)
    for ratios in recorded.values():
        assert all(0 < x < 100 for x in clocks.Secs(**ratios))


def test_command_fails_for_a_regression_and_records_what_is_meant(
    tmp_path, monkeypatch, capsys
):
    now = clocks.Secs(1.0, 1.0)
    monkeypatch.setattr(quick, "MEASURES", {"loop": lambda: now})
    monkeypatch.setattr(quick, "RECORDED", tmp_path / "quick.json")
    assert quick.main(["--record"]) == 0
    assert quick.main([]) == 0
    now = clocks.Secs(3.0, 1.0)
    assert quick.main([]) == 1
    assert "loop has become 3.0 x slower by wall time" in capsys.readouterr().out
    quick.main(["--record"])
    assert quick.main([]) == 0
    assert json.loads(quick.RECORDED.read_text()) == {
        "loop": {"wall": 3.0, "processor": 1.0}
    }
