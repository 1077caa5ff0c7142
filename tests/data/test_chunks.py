"""Chunk transforms: elements made of several examples, resumable all the same."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from kauldron import kd
from kauldron._base import processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sums(kd.data.ChunkTransform):
    """Sums of neighbours; of a chunk of five, two sums and what is left."""

    chunk_size: int = 5

    def map_chunk(self, elements):
        xs = [int(e["x"]) for e in elements]
        return [{"sum": np.int64(sum(xs[i : i + 2]))} for i in range(0, len(xs), 2)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copies(kd.data.ChunkTransform):
    """Each element as often as it says."""

    chunk_size: int = 3
    max_rows: int = 50

    def map_chunk(self, elements):
        return [{"x": e["x"]} for e in elements for _ in range(int(e["x"]))]


def _ds(*transforms, size=23, **options):
    options = {"shuffle": True, "batch_size": 3, "seed": 0} | options
    return kd.data.py.DataSource(
        [{"x": i} for i in range(size)], transforms=list(transforms), **options
    )


def _read(ds, key, num_batches=None):
    with iter(ds) as batches:
        return [b[key].tolist() for b in itertools.islice(batches, num_batches)]


def test_rows_are_those_of_each_chunk_in_order():
    ds = _ds(Sums(), shuffle=False, num_epochs=1, batch_size=2, size=12)
    # Chunks: 0..4, 5..9, 10 and 11.
    expected = [[0 + 1, 2 + 3], [4, 5 + 6], [7 + 8, 9], [10 + 11]]
    assert _read(ds, "sum") == expected[:-1]
    assert _read(ds.for_evaluation(), "sum") == expected


@pytest.mark.parametrize("num_epochs", [None, 2])
def test_pipelines_with_chunk_transforms_keep_their_contract(num_epochs):
    def is_odd(element):
        return element["x"] % 2 == 1

    class Odd(kd.data.FilterTransform):
        def filter(self, element):
            return is_odd(element)

    kd.testing.check_pipeline(
        lambda: _ds(Sums(), num_epochs=num_epochs), num_batches=12
    )
    kd.testing.check_pipeline(
        lambda: _ds(Odd(), Copies(), Sums(), num_epochs=num_epochs, batch_size=4),
        num_batches=9,
    )


def test_every_example_is_used_once_an_epoch():
    ds = _ds(Sums(), num_epochs=1, batch_size=1)
    assert sum(x for [x] in _read(ds, "sum")) == sum(range(23))


@pytest.mark.slow
def test_workers_change_nothing():
    ds = _ds(Copies(), num_workers=2)
    assert _read(ds, "x", 9) == _read(_ds(Copies()), "x", 9)


def test_processes_share_the_same_global_batches(monkeypatch):
    whole = _read(_ds(Sums(), batch_size=4), "sum", 8)
    parts = []
    for index in range(2):
        monkeypatch.setattr(processes, "index_and_count", lambda i=index: (i, 2))
        parts.append(_read(_ds(Sums(), batch_size=4), "sum", 8))
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_transforms_before_and_behind_see_other_elements():
    ds = _ds(
        lambda e: {"x": e["x"] * 10}, Sums(), lambda e: {"sum": e["sum"] + 1}, size=5,
        shuffle=False, num_epochs=1,
    )  # fmt: skip
    assert _read(ds, "sum") == [[11, 51, 41]]


def test_mistakes_are_told():
    with pytest.raises(
        kd.data.DataError, match=r"gives 21 elements, more than 20"
    ) as e:
        _read(_ds(Copies(max_rows=20), shuffle=False), "x", 9)
    assert "smaller `chunk_size` than 3" in str(e.value)
    with pytest.raises(KeyError) as e:
        _read(_ds(lambda e: {"y": 1}, Sums()), "sum", 1)
    assert "transform #1, `Sums`" in "".join(e.value.__notes__)
    with pytest.raises(TypeError, match="no known length"):
        len(_ds(Sums(), num_epochs=1))
    with pytest.raises(kd.data.DataError, match="Move its chunk transforms"):
        iter(kd.data.py.Mix([_ds(Sums()), _ds()], batch_size=2, seed=0))
    mixed = kd.data.py.Mix([_ds(), _ds()], batch_size=2, seed=0, transforms=[Sums()])
    assert len(_read(mixed, "sum", 3)) == 3
