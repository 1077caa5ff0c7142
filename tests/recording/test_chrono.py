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


def test_shares_tell_where_the_time_went():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    chrono.start_loop()
    with chrono.pause("checkpoint"):
        clock.now += 2
    since = chrono.now()
    clock.now += 3
    chrono.add_data_wait(since)
    chrono.flush_metrics()  # shares are of the whole run
    clock.now += 4
    with chrono.pause("compile"):
        clock.now += 1  # still running
        assert chrono.running_pause == "compile"
        shares = chrono.shares()
    assert shares == pytest.approx(
        {"step": 0.4, "data_wait": 0.3, "checkpoint": 0.2, "compile": 0.1}
    )
    assert chrono.active_secs() == pytest.approx(7)


def test_waiting_for_data_is_reported_as_part_of_the_steps():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    chrono.start_loop()
    for _ in range(2):
        since = chrono.now()
        clock.now += 0.5
        chrono.add_data_wait(since)
        clock.now += 1.5
        chrono.finish_step()
    metrics = chrono.flush_metrics()
    assert metrics["perf_stats/steps_per_sec"] == pytest.approx(0.5)
    assert metrics["perf_stats/data_wait_fraction"] == pytest.approx(0.25)


def test_pauses_that_are_named_beforehand_are_always_reported():
    chrono = chrono_lib.Chrono("train", pause_names=[chrono_lib.Pause.CHECKPOINT])
    with chrono.pause():
        pass
    metrics = chrono.flush_metrics()
    assert metrics["checkpoint/avg_time_sec"] == 0
    assert "pause/avg_time_sec" not in metrics


def test_what_a_window_reports_is_its_own_and_of_all_of_its_pauses():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    chrono.start_loop()
    for wait, pauses in [(0.8, (10.0,)), (0.1, (1.0, 4.0))]:
        since = chrono.now()
        clock.now += wait
        chrono.add_data_wait(since)
        clock.now += 1 - wait
        for secs in pauses:
            with chrono.pause("checkpoint"):
                clock.now += secs
        chrono.finish_step()
        metrics = chrono.flush_metrics()
    assert metrics["perf_stats/data_wait_fraction"] == pytest.approx(0.1)
    assert metrics["perf_stats/steps_per_sec"] == pytest.approx(1)
    assert metrics["checkpoint/avg_time_sec"] == pytest.approx(2.5)


def test_pause_that_is_running_counts_with_those_before_it():
    clock = Clock()
    chrono = chrono_lib.Chrono(clock=clock)
    chrono.start_loop()
    with chrono.pause("checkpoint"):
        clock.now += 2
    with chrono.pause("checkpoint"):
        clock.now += 3
        assert chrono.pause_total_secs("checkpoint") == pytest.approx(5)
    assert chrono.pause_total_secs("checkpoint") == pytest.approx(5)
