"""Sources whose examples are drawn anew in every epoch, and shuffled block by block."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from kauldron import kd
from kauldron.workdir import data_records


class _Throws:
    """Example `i` of an epoch is a function of index, seed and epoch."""

    def __init__(self, sizes=(4, 2, 3), at_once=None):
        self._block = np.repeat(np.arange(len(sizes)), sizes)
        self.blocks = (None, 0) if at_once is None else (self._block, at_once)

    def __len__(self):
        return len(self._block)

    def __getitem__(self, index):
        return self.draw_example(index, 0, 0)

    def draw_example(self, index, seed, epoch):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return {"throw": [index, seed % 1000, epoch], "block": int(self._block[index])}


def _ds(**fields):
    source = fields.pop("source", _Throws())
    fields = {"shuffle": True, "batch_size": 9, "seed": 5} | fields
    return kd.data.py.DataSource(source, **fields)


def _batches(ds, num):
    with iter(ds) as batches:
        return list(itertools.islice(batches, num))


def test_a_source_is_told_seed_and_epoch():
    for epoch, batch in enumerate(_batches(_ds(), 3)):
        indices, seeds, epochs = batch["throw"].T
        assert sorted(indices) == list(range(9))
        assert set(seeds) == {5} and set(epochs) == {epoch}


def test_an_epoch_may_end_inside_of_a_batch():
    first, second = _batches(_ds(batch_size=6), 2)
    assert set(first["throw"][:, 2]) == {0}
    assert second["throw"][:, 2].tolist() == [0] * 3 + [1] * 3


def test_drawn_sources_keep_the_contracts():
    kd.testing.check_source(_Throws)
    kd.testing.check_pipeline(lambda: _ds(batch_size=4))
    mixed = kd.data.py.Mix([_ds(), _ds()], batch_size=4, seed=1)
    kd.testing.check_pipeline(lambda: mixed)


@pytest.mark.parametrize("at_once", [1, 2])
def test_blocks_follow_each_other(at_once):
    ds = _ds(source=_Throws(at_once=at_once))
    batches = _batches(ds, 8)
    orders = set()
    for batch in batches:
        blocks = batch["block"].tolist()
        assert sorted(batch["throw"][:, 0]) == list(range(9))
        if at_once == 1:
            turns = [block for block, _ in itertools.groupby(blocks)]
            assert sorted(turns) == [0, 1, 2]
        else:  # two are mixed, the third is before or behind them
            assert len(set(blocks[:2])) <= 2
            alone = blocks[-1]
            assert blocks[-blocks.count(alone) :] == [alone] * blocks.count(alone)
        orders.add(tuple(dict.fromkeys(blocks)))
    assert len(orders) > 1


def test_slices_keep_to_their_blocks():
    ds = _ds(
        source=_Throws(at_once=1),
        transforms=[kd.data.py.SliceDataset(2, None)],
        batch_size=7,
    )
    (batch,) = _batches(ds, 1)
    turns = [block for block, _ in itertools.groupby(batch["block"].tolist())]
    assert sorted(batch["throw"][:, 0]) == list(range(2, 9)) and len(turns) == 3


def test_records_are_found_by_what_they_are_of(tmp_path):
    first = {"source": {"path": "a"}, "cases": ["x"]}
    second = {"source": {"path": "b"}, "cases": ["y"]}
    assert data_records.find(tmp_path, {"path": "a"}) is None
    data_records.write(tmp_path, [])
    assert not list(tmp_path.iterdir())
    data_records.write(tmp_path, [first, second, first | {"cases": []}])
    assert data_records.find(tmp_path, {"path": "b"}) == second
    assert data_records.find(tmp_path, {"path": "a"}) == first
    assert data_records.find(tmp_path, {"path": "c"}) is None
    (tmp_path / data_records.FILE).write_text(json.dumps([first])[:-3])
    with pytest.raises(kd.train.workdirs.WorkdirConfigError, match="is damaged"):
        data_records.find(tmp_path, {"path": "a"})


def test_datasets_pass_on_the_records_of_what_they_are_made_of():
    class Recorded(kd.data.py.DataSource):
        def run_records(self):
            return [{"source": len(self.data_source)}]

    def make(size):
        return Recorded(np.arange(size), shuffle=False, batch_size=1, seed=0)

    assert _ds().run_records() == ()
    assert list(make(3).map(lambda x: x).take(2).prefetch().run_records()) == [
        {"source": 3}
    ]
    expected = [{"source": 3}, {"source": 4}]
    mixed = kd.data.py.Mix([make(3), make(4)], batch_size=2)
    zipped = kd.data.tf.ZipDatasets({"a": make(3), "b": make(4)}, batch_size=2)
    assert list(mixed.run_records()) == list(zipped.run_records()) == expected
