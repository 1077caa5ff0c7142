"""Jobs beside the training: in order, several at once, and done when it is said so."""

from __future__ import annotations

import contextlib
import threading

import pytest

from kauldron._base import problem_log
from kauldron.recording import _write_queue

FOREVER_SECS = 1e6


class Log:
    """What has happened, with contexts that say when they begin and end."""

    def __init__(self):
        self.events = []

    def job(self, name):
        return lambda: self.events.append(name)

    def context(self, name):
        @contextlib.contextmanager
        def within():
            self.events.append(f"{name}(")
            yield
            self.events.append(f"){name}")

        return within


def _queue(spacing_secs=FOREVER_SECS, **changes):
    options = {"max_waiting": 100, "may_drop": False, **changes}
    queue = _write_queue.WriteQueue(
        "it", problems=problem_log.Problems(), spacing_secs=spacing_secs, **options
    )
    if spacing_secs == FOREVER_SECS:
        queue.submit(lambda: None)  # the first one never waits for more
        assert queue.join(timeout_secs=60)
    return queue


def test_jobs_that_wait_run_when_somebody_waits_for_them():
    queue, log = _queue(), Log()
    for name in "abc":
        queue.submit(log.job(name))
    assert log.events == []
    queue.hurry()
    assert queue.join(timeout_secs=60)
    assert log.events == ["a", "b", "c"]
    queue.close()


def test_jobs_run_when_many_wait():
    queue, done = _queue(max_waiting=10), threading.Event()
    for _ in range(4):
        queue.submit(lambda: None)
    queue.submit(done.set)
    assert done.wait(60)
    queue.close()


def test_jobs_run_after_the_spacing_though_nobody_waits():
    queue, done = _queue(spacing_secs=0.05), threading.Event()
    for job in (lambda: None, done.set):
        queue.submit(job)
    assert done.wait(60)
    queue.close()


def test_jobs_that_follow_each_other_share_a_context_and_keep_their_order():
    queue, log = _queue(), Log()
    one, other = log.context("one"), log.context("other")
    for name, within in (("a", one), ("b", one), ("c", other), ("d", None), ("e", one)):
        queue.submit(log.job(name), within=within)
    queue.close()
    told = "one( a b )one other( c )other d one( e )one"
    assert log.events == told.split()


def test_a_job_is_done_when_its_context_is_left():
    leaving, may_leave = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def within():
        yield
        leaving.set()
        assert may_leave.wait(60)

    queue = _queue()
    queue.submit(lambda: None, within=within)
    queue.hurry()
    assert leaving.wait(60)
    assert not queue.join(timeout_secs=0.01)
    may_leave.set()
    assert queue.join(timeout_secs=60)
    queue.close()


@pytest.mark.parametrize("at", ["entering", "leaving"])
def test_a_context_that_fails_is_reported_and_stops_nothing(at, capsys):
    @contextlib.contextmanager
    def within():
        if at == "entering":
            raise ValueError("no entry")
        yield
        raise ValueError("no way out")

    queue, log = _queue(), Log()
    queue.submit(log.job("a"), within=within)
    queue.submit(log.job("b"))
    queue.close()
    assert log.events == ["a", "b"]
    assert ("no entry" if at == "entering" else "no way out") in capsys.readouterr().err


def test_a_queue_that_is_full_waits_or_drops(capsys):
    started, may_go, log = threading.Event(), threading.Event(), Log()

    def block():
        started.set()
        assert may_go.wait(60)

    queue = _queue(spacing_secs=0.0, max_waiting=2, may_drop=True)
    queue.submit(block)
    assert started.wait(60)
    for name in "abc":
        queue.submit(log.job(name))
    may_go.set()
    queue.close(last=[log.job(x) for x in "xyz"])
    assert log.events == ["a", "b", "x", "y", "z"]
    assert "is too slow: 2 writes wait for it" in capsys.readouterr().err
    waits = _queue(max_waiting=2)
    for i in range(20):
        waits.submit(log.job(i))
    waits.close()
    assert log.events[5:] == [*range(20)]
