"""Benchmarks take turns, and say what repeated measurements say."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.benchmarks import clocks


def test_runs_take_turns_and_every_other_round_goes_backwards():
    order = []

    def run(name):
        order.append(name)
        return clocks.Secs(1.0 * len(order), 2.0)

    secs = clocks.in_turn(
        {name: lambda name=name: run(name) for name in "ab"}, num_rounds=3
    )
    assert "".join(order) == "ba" + "ab" + "ba" + "ab"  # the first does not count
    assert [x.wall for x in secs["a"]] == [3, 6, 7]
    assert [x.wall for x in secs["b"]] == [4, 5, 8]


def test_ratio_is_that_of_rounds_and_not_that_of_all():
    ours = [clocks.Secs(2, 30), clocks.Secs(40, 10), clocks.Secs(9, 50)]
    theirs = [clocks.Secs(1, 10), clocks.Secs(10, 10), clocks.Secs(3, 10)]
    found = clocks.ratios(ours, theirs)
    assert found.wall == (3, 2, 4)
    assert found.processor == (3, 1, 5)
    assert found.medians == (3, 3)


def test_rounds_that_are_missing_are_an_error():
    with pytest.raises(ValueError, match="longer"):
        clocks.ratios([clocks.Secs(1, 1)], [clocks.Secs(1, 1)] * 2)


def test_sleeping_takes_no_processor_time_and_work_of_ended_processes_counts():
    sleep = clocks.timed(lambda: time.sleep(0.2))()
    assert sleep.wall >= 0.2 > 2 * sleep.processor
    work = [sys.executable, "-c", "sum(range(10**7))"]
    _, secs = clocks.measured(lambda: subprocess.run(work, check=True))
    assert secs.processor > 0.05
    assert secs.per(10) == pytest.approx([x / 10 for x in secs])


def test_medians_are_of_each_clock_for_itself():
    rounds = [clocks.Secs(1, 30), clocks.Secs(5, 10), clocks.Secs(2, 20)]
    assert clocks.medians(rounds) == clocks.Secs(wall=2, processor=20)
