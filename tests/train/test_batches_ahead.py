"""Batches that are put on the devices one step ahead, and the position to go on from."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from kauldron.train import _batches


def _ahead(num_batches=5):
    source = {"x": np.arange(8 * num_batches, dtype=np.int32)}
    ds = kd.data.py.DataSource(
        source, seed=0, shuffle=False, batch_size=8, num_epochs=1
    )
    return _batches.BatchesAhead(iter(ds), kd.sharding.FIRST_DIM)


def _first(batch):
    return int(np.asarray(batch["x"])[0]) // 8


@pytest.mark.parametrize("has_loaded", [False, True])
def test_position_is_that_of_the_batches_handed_out(has_loaded):
    batches = _ahead()
    for position in range(4):
        if has_loaded:
            batches.load_next()
        other = _ahead()
        other.load_next()  # which is thrown away
        other.set_state(batches.get_state())
        assert _first(other.next()) == position
        assert _first(batches.next()) == position
    batches.close()


def test_nothing_is_loaded_behind_the_last_batch():
    batches = _ahead(2)
    assert _first(batches.next()) == 0
    assert _first(batches.next(is_last=True)) == 1


def test_data_that_end_are_told_when_the_next_batch_is_wanted():
    batches = _ahead(2)
    assert [_first(batches.next()) for _ in range(2)] == [0, 1]
    with pytest.raises(_batches.OutOfDataError, match="no more batches"):
        batches.next()


class _Following(kd.data.iters.Iterator):
    """Batches that say which state they were made by."""

    def __init__(self):
        super().__init__(None)
        self._num_made = 0

    def follow(self, get_state):
        self._get_state_of_run = get_state
        return True

    def __next__(self):
        self._num_made += 1
        return {"x": np.full(8, self._get_state_of_run(), np.int32)}

    def get_state(self):
        return {"num_made": self._num_made}

    def set_state(self, state):
        self._num_made = state["num_made"]


def test_batches_that_depend_on_the_state_are_made_right_before_their_step():
    now = [0]
    batches = _batches.BatchesAhead(_Following(), kd.sharding.FIRST_DIM)
    batches.follow(lambda: now[0])
    batches.load_next()  # as a run does once, before its first step
    for step in range(3):
        now[0] = step
        assert batches.get_state() == {"num_made": step}
        assert int(np.asarray(batches.next()["x"])[0]) == step
        assert batches.get_state() == {"num_made": step + 1}


@pytest.mark.parametrize("wrap", ["map", "take"])
def test_what_wraps_such_batches_says_so(wrap):
    inner = _Following()
    iterators = {
        "map": kd.data.iters.MappedIterator(None, inner, lambda batch: batch),
        "take": kd.data.iters.TakeIterator(None, inner, 2),
    }
    assert iterators[wrap].follow(lambda: 5)
    assert int(next(iterators[wrap])["x"][0]) == 5
