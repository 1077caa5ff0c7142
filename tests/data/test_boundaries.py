"""The last batch, the second epoch, the odd row."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from kauldron._base import processes
from kauldron.data.transforms import batches


def _rows(n, **fields):
    return kd.data.py.DataSource({"x": np.arange(n)}, seed=0, **fields)


@pytest.mark.parametrize("keeps", [True, False])
def test_full_last_batches_are_counted_once(keeps):
    ds = _rows(
        8, shuffle=False, batch_size=4, num_epochs=1, batch_drop_remainder=not keeps
    )
    assert len(ds) == 2
    assert [batch["x"].tolist() for batch in ds] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("kind", ["selection", "part of a mixture"])
def test_members_are_shuffled_anew_in_the_second_epoch(kind):
    member = _rows(64, shuffle=True)
    options = {"batch_size": 64, "num_epochs": 2, "seed": 0, "shuffle": False}
    if kind == "selection":
        table = [(0, i) for i in range(64)]
        ds = kd.data.py.SelectFromDatasets([member], selection_map=table, **options)
    else:
        part = kd.data.py.SliceDataset(0, 64)
        whole = kd.data.py.SliceDataset(0, 32)
        options["batch_size"] = 32
        ds = kd.data.py.Mix([member], transforms=[part, whole], **options)
    first, second = (batch["x"].tolist() for batch in ds)
    assert len(set(first)) == len(set(second)) == options["batch_size"]
    assert first != second


def test_the_last_of_an_odd_number_is_mixed_with_the_one_before():
    assert batches.partner_rows(5).tolist() == [1, 0, 3, 2, 3]
    assert batches.partner_rows(1).tolist() == [0]


class _Even(kd.data.FilterTransform):
    def filter(self, element):
        return element["x"] % 2 == 0


@pytest.mark.parametrize("filters", [False, True])
@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_padded_batch_has_empty_texts_and_whole_tuples(
    monkeypatch, num_processes, filters
):
    """Also in a process whose part is padding alone."""
    records = [{"x": i, "name": f"n{i}", "tags": (f"t{i}", i)} for i in range(0, 12, 2)]
    ds = kd.data.py.DataSource(
        records,
        shuffle=False,
        batch_size=4,
        num_epochs=1,
        batch_drop_remainder="pad",
        seed=0,
        transforms=[_Even()] if filters else [],
    )
    names, texts, numbers = [], [], []
    for index in range(num_processes):
        process = (index, num_processes)
        monkeypatch.setattr(processes, "index_and_count", lambda p=process: p)
        *_, last = ds
        names += last["name"].tolist()
        texts += last["tags"][0].tolist()
        numbers += last["tags"][1].tolist()
    assert names == ["n8", "n10", "", ""]
    assert texts == ["t8", "t10", "", ""]
    assert numbers == [8, 10, 0, 0]


@pytest.mark.parametrize("kind", ["selection", "mixture"])
def test_mixture_with_a_member_that_filters_has_full_batches_and_no_index(kind):
    members = [_rows(8, shuffle=False, transforms=[_Even()]), _rows(8, shuffle=False)]
    options = {"batch_size": 4, "num_epochs": 1, "seed": 0, "shuffle": False}
    if kind == "selection":
        table = [(member, i) for i in range(8) for member in (0, 1)]
        ds = kd.data.py.SelectFromDatasets(members, selection_map=table, **options)
    else:
        ds = kd.data.py.Mix(members, **options)
    with pytest.raises(TypeError, match="have no index"):
        ds[0]
    found = [batch["x"].tolist() for batch in ds]
    # 0 of both, 1 of the second, 2 of both, ...
    assert found == [[0, 0, 1, 2], [2, 3, 4, 4], [5, 6, 6, 7]]


@pytest.mark.parametrize("args", [(3, None), (1, 9, 3), (-4, None), (5,)])
def test_slice_takes_what_the_builtin_takes(args):
    part = kd.data.py.SliceDataset(*args)
    ds = _rows(12, shuffle=False, num_epochs=1, transforms=[part])
    assert [int(row["x"]) for row in ds] == list(range(12))[slice(*args)]


def test_position_in_a_slice_counts_the_rows_that_a_filter_drops():
    member = _rows(8, shuffle=False, transforms=[_Even()])
    ds = kd.data.py.Mix(
        [member],
        transforms=[kd.data.py.SliceDataset(1, None)],
        shuffle=False,
        batch_size=1,
        num_epochs=1,
        seed=0,
    )
    with iter(ds) as batches:
        found = [
            (batch["x"].tolist(), batches.get_state()["next_example"])
            for batch in batches
        ]
    # 1 to 7 are at positions 0 to 6; the next of 2 at position 1 is position 2.
    assert found == [([2], 2), ([4], 4), ([6], 6)]


@pytest.mark.parametrize("index", [0, 1])
def test_last_batch_that_is_kept_is_whole_in_every_process(monkeypatch, index):
    monkeypatch.setattr(processes, "index_and_count", lambda: (index, 2))
    ds = _rows(7, shuffle=False, batch_size=4, num_epochs=1, batch_drop_remainder=False)
    first, last = (batch["x"].tolist() for batch in ds)
    assert first == [[0, 1], [2, 3]][index]
    assert last == [4, 5, 6]
