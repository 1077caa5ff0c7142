"""The last batch, the second epoch, the odd row."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
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


def test_texts_of_a_padded_batch_are_empty():
    records = [{"name": name, "tags": (name, i)} for i, name in enumerate("abc")]
    ds = kd.data.py.DataSource(
        records,
        shuffle=False,
        batch_size=2,
        num_epochs=1,
        batch_drop_remainder="pad",
        seed=0,
    )
    *_, last = ds
    assert last["name"].tolist() == ["c", ""]
    texts, numbers = last["tags"]
    assert texts.tolist() == ["c", ""]
    assert numbers.tolist() == [2, 0]


class _Even(kd.data.FilterTransform):
    def filter(self, element):
        return element["x"] % 2 == 0


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
