"""`Chrono`, on a clock that the test moves."""

from __future__ import annotations

import pytest

from kauldron.utils import chrono as chrono_lib


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_rates_leave_pauses_out_and_the_total_does_not():
    clock = Clock()
    chrono = chrono_lib.Chrono(batch_size=32, clock=clock)
    chrono.start_loop()
    for _ in range(4):
        clock.now += 0.5
        with chrono.pause("checkpoint"):
            clock.now += 3
        chrono.finish_step()
    metrics = chrono.flush_metrics()
    assert metrics["perf_stats/steps_per_sec"] == pytest.approx(2)
    assert metrics["perf_stats/data_points_per_sec_global"] == pytest.approx(64)
    assert metrics["checkpoint/avg_time_sec"] == pytest.approx(3)
    assert metrics["perf_stats/total_training_time_hours"] == pytest.approx(14 / 3600)


def test_each_flush_begins_anew():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    chrono.start_loop()
    clock.now += 1
    chrono.finish_step()
    chrono.flush_metrics()
    clock.now += 1
    metrics = chrono.flush_metrics()
    assert "perf_stats/steps_per_sec" not in metrics


def test_total_time_survives_a_restart():
    clock = Clock()
    first = chrono_lib.Chrono(clock=clock)
    first.start_loop()
    clock.now += 10
    second = chrono_lib.Chrono(clock=clock)
    second.set_state(first.get_state())
    second.start_loop()
    clock.now += 5
    assert second.total_secs == pytest.approx(15)
