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
