"""What the collector does around a start, each in a process that has little else.

Among the objects of a session of tests one look at all of them takes seconds.
`python -m tests.utils.garbage NAME` runs one of the functions.
"""

from __future__ import annotations

import gc
import sys

from kauldron._base import collector


class _Loop:
    """Garbage that only the collector finds."""

    alive = 0

    def __init__(self):
        self.me = self
        _Loop.alive += 1

    def __del__(self):
        _Loop.alive -= 1


def _make_garbage():
    for _ in range(100_000):
        _Loop()
    return _Loop.alive


def nothing_is_collected_until_the_start_is_over():
    with collector.postponed():
        assert _make_garbage() == 100_000
        gc.collect()
        collector.resume()
        assert _make_garbage() < 10_000


def garbage_of_a_start_is_found_when_the_run_is_over():
    with collector.postponed():
        _make_garbage()
        collector.resume()
        gc.collect()
        assert _Loop.alive == 100_000
    gc.collect()
    assert _Loop.alive == 0


def a_block_inside_of_another_changes_nothing():
    with collector.postponed():
        with collector.postponed():
            pass
        assert gc.get_threshold() != _THRESHOLDS


def what_was_frozen_before_stays_so():
    gc.freeze()
    frozen = gc.get_freeze_count()
    for _ in range(2):  # it is counted at the first start
        with collector.postponed():
            collector.resume()
        assert gc.get_freeze_count() >= 0.9 * frozen
    gc.unfreeze()


def an_error_restores_it():
    try:
        with collector.postponed():
            raise ValueError("no")
    except ValueError as e:
        assert str(e) == "no"
    else:
        raise AssertionError("The error is lost.")


_THRESHOLDS = (700, 10, 10)

if __name__ == "__main__":
    gc.set_threshold(*_THRESHOLDS)
    assert gc.get_freeze_count() == 0
    globals()[sys.argv[1]]()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (_THRESHOLDS, 0)
