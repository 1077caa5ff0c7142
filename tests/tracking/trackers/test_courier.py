"""What a tracker that is gone misses is written when it is back, and nobody waits for it."""

from __future__ import annotations

import threading
import time

import pytest

from kauldron import kd
from kauldron._base import problem_log
from kauldron.tracking.trackers import _courier


def measured(step, collection="train"):
    return kd.tracking.Event(
        kind="metric", run="a", step=step, collection=collection, values={"x": step}
    )


ENDED = kd.tracking.Event(kind="ended", run="a", status="done")


class Receiver:
    """Takes up to three events at once; is gone, or hangs, when it is told to."""

    def __init__(self):
        self.taken, self.caught_up = [], []
        self.is_gone = False
        self.refused = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def deliver(self, waiting):
        self.may_go_on.wait()
        if self.is_gone:
            raise ConnectionError("nobody answers.\nmore")
        if waiting[0].step == self.refused:
            raise ValueError("it is refused")
        num = min(3, len(waiting))
        self.taken += [(e.kind, e.step) for e in waiting[:num]]
        return num

    def catch_up(self, missed):
        if self.is_gone:
            raise ConnectionError("nobody answers.")
        self.caught_up.append(dict(missed))
        return True

    def close(self):
        self.taken.append("closed")


@pytest.fixture
def receiver():
    return Receiver()


def _courier_to(receiver, **changes):
    return _courier.Courier("the tracker 'mine'", receiver, **changes)


def _wait_until(is_so):
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it took too long")


def test_events_come_in_their_order_and_once(receiver):
    courier = _courier_to(receiver)
    for step in range(10):
        courier.put(measured(step))
    courier.put(ENDED)
    assert courier.close()
    expected = [*(("metric", step) for step in range(10)), ("ended", 0), "closed"]
    assert receiver.taken == expected


def test_who_is_gone_gets_all_when_it_is_back_and_a_line_says_so(receiver, capfd):
    receiver.is_gone = True
    courier = _courier_to(receiver, pause_secs=0.0)
    for step in range(5):
        courier.put(measured(step))
        time.sleep(0.02)
    _wait_until(lambda: "takes nothing" in capfd.readouterr().err)
    assert receiver.taken == []
    receiver.is_gone = False
    _wait_until(lambda: len(receiver.taken) == 5)
    courier.put(ENDED)
    assert courier.close()
    assert [step for _, step in receiver.taken[:5]] == [0, 1, 2, 3, 4]
    assert capfd.readouterr().err == "the tracker 'mine' is back.\n"


def test_one_line_tells_that_it_is_gone(receiver, capfd, monkeypatch):
    monkeypatch.setattr(_courier, "_FIRST_RETRY_SECS", 0.01)
    receiver.is_gone = True
    courier = _courier_to(receiver, pause_secs=0.0)
    courier.put(measured(0))
    time.sleep(0.2)  # several tries
    assert capfd.readouterr().err == (
        "Warning: the tracker 'mine' takes nothing: nobody answers. The training goes "
        "on; what is missed is written when it is back.\n"
    )
    receiver.is_gone = False
    assert courier.close()


def test_what_does_not_fit_in_memory_is_taken_from_the_files_in_its_place(receiver):
    receiver.is_gone = True
    courier = _courier_to(receiver, max_waiting=2, pause_secs=0.0)
    for step in range(5):
        courier.put(measured(step))
    courier.put(measured(7, "eval"))
    assert courier.num_undelivered == 6
    courier.put(ENDED)  # how it ended is always kept
    receiver.is_gone = False
    assert courier.close()
    assert receiver.caught_up == [{"train": 4, "eval": 7}]
    assert receiver.taken == [("metric", 0), ("metric", 1), ("ended", 0), "closed"]


def test_putting_never_waits_for_a_receiver_that_hangs(receiver):
    receiver.may_go_on.clear()
    courier = _courier_to(receiver, max_waiting=100, pause_secs=0.0)
    start = time.perf_counter()
    for step in range(10_000):
        courier.put(measured(step))
    assert time.perf_counter() - start < 2.0  # 20 times what it takes
    receiver.may_go_on.set()
    assert courier.close()


def test_who_stays_gone_is_not_waited_for_and_what_it_misses_is_reported(
    receiver, monkeypatch
):
    monkeypatch.setattr(_courier, "_PATIENCE_IF_GONE_SECS", 0.2)
    receiver.is_gone = True
    problems = problem_log.Problems()
    courier = _courier_to(receiver, problems=problems)
    courier.put(measured(0))
    start = time.monotonic()
    courier.flush()
    courier.put(ENDED)
    assert not courier.close()
    assert time.monotonic() - start < 5.0
    (line,) = problems.lines()
    assert line.startswith("the tracker 'mine' has not taken 2 events: the next start")


def test_what_is_delivered_late_is_no_problem(receiver, monkeypatch):
    monkeypatch.setattr(_courier, "_PATIENCE_IF_GONE_SECS", 0.2)
    receiver.is_gone = True
    problems = problem_log.Problems()
    courier = _courier_to(receiver, problems=problems)
    courier.put(measured(0))
    courier.flush()
    assert problems.lines()
    receiver.is_gone = False
    assert courier.close()
    assert problems.lines() == []


def test_what_is_refused_for_good_is_left_out_and_reported_once(receiver, capfd):
    receiver.refused = 1
    problems = problem_log.Problems()
    courier = _courier_to(receiver, problems=problems)
    courier.put(measured(1))
    courier.put(measured(2))
    assert courier.close()
    assert receiver.taken == [("metric", 2), "closed"]
    (line,) = problems.lines()
    assert line.startswith("the tracker 'mine' failed once (ValueError: it is refused")
    assert capfd.readouterr().err.count("failed; this stops nothing") == 1
