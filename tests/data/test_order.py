"""Laws of the order of examples: permutations, proportions."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kauldron import kd
from kauldron.data import _draws, _order


def _whole_epoch(shuffle, length, epoch):
    return shuffle(np.full(length, epoch), np.arange(length))


@pytest.mark.parametrize("max_held", [2**22, 0])
@given(length=st.integers(1, 300), seed=st.integers(0, 2**64 - 1))
def test_every_epoch_is_a_permutation(max_held, length, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_order, "_MAX_HELD", max_held)
        shuffle = _order.Shuffle(length, seed)
        for epoch in (0, 1, 10**9):
            indices = _whole_epoch(shuffle, length, epoch)
            assert sorted(indices.tolist()) == list(range(length))


@pytest.mark.parametrize("max_held", [2**22, 0])
def test_position_alone_decides_the_example(monkeypatch, max_held):
    monkeypatch.setattr(_order, "_MAX_HELD", max_held)
    shuffle = _order.Shuffle(100, seed=1)
    epochs, offsets = np.divmod(np.arange(300), 100)
    together = shuffle(epochs, offsets)
    for position in (0, 99, 100, 250):
        alone = _order.Shuffle(100, seed=1)(epochs[[position]], offsets[[position]])
        assert alone[0] == together[position]


@pytest.mark.parametrize("max_held", [2**22, 0])
def test_orders_are_spread_evenly(monkeypatch, max_held):
    monkeypatch.setattr(_order, "_MAX_HELD", max_held)
    shuffle = _order.Shuffle(10, seed=0)
    counts = np.zeros((10, 10))
    for epoch in range(2000):
        counts[np.arange(10), _whole_epoch(shuffle, 10, epoch)] += 1
    # Each of 100 counts is Binomial(2000, 0.1): 200 +- 13; five sigma.
    assert np.abs(counts - 200).max() < 5 * 13.5


# Two numbers that differ in one bit, anywhere in 64.
_SEEDS = [1, *(1 + 2**i for i in range(1, 64, 6)), 2**63 + 1]


@pytest.mark.parametrize("max_held", [2**22, 0])
def test_seeds_that_differ_in_any_bit_give_other_orders(monkeypatch, max_held):
    monkeypatch.setattr(_order, "_MAX_HELD", max_held)
    orders = {tuple(_whole_epoch(_order.Shuffle(100, s), 100, 0)) for s in _SEEDS}
    assert len(orders) == len(_SEEDS)


def test_seeds_and_names_that_differ_anywhere_give_other_numbers():
    indices = np.arange(3)
    ids = {tuple(_draws.example_ids(seed, 0, indices)) for seed in _SEEDS}
    assert len(ids) == len(_SEEDS)
    derived = {_draws.seed_from(seed, name) for seed in _SEEDS for name in "ab"}
    assert len(derived) == 2 * len(_SEEDS)
    # All of the 64 bits of a hash are used.
    assert max(derived) > 2**63
    epochs = {tuple(_draws.example_ids(0, epoch, indices)) for epoch in range(100)}
    assert len(epochs) == 100


def test_epochs_need_not_follow_each_other():
    """Members of a mixture are asked for positions of several epochs at once."""
    shuffle = _order.Shuffle(10, seed=1)
    epochs = np.array([0, 2, 1, 0])
    mixed = shuffle(epochs, np.array([3, 3, 3, 4]))
    each = [_whole_epoch(shuffle, 10, epoch) for epoch in range(3)]
    assert mixed.tolist() == [each[0][3], each[2][3], each[1][3], each[0][4]]


def test_huge_datasets_need_no_memory():
    shuffle = _order.Shuffle(10**12, seed=0)
    indices = shuffle(np.zeros(1000, np.int64), np.arange(1000))
    assert len(set(indices.tolist())) == 1000
    assert indices.min() >= 0
    assert indices.max() < 10**12
    # The mean of 1000 uniform numbers; five sigma.
    assert abs(indices.mean() / 10**12 - 0.5) < 5 * 0.289 / 1000**0.5


_WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)


@given(weights=_WEIGHTS, start=st.integers(0, 10**6))
def test_members_alternate_in_proportion(weights, start):
    interleave = _order.Interleave(weights)
    positions = np.arange(start, start + 50)
    members, inner = interleave(positions)
    for member, weight in enumerate(weights):
        # What a member has given before a position is what the next one is numbered.
        before = interleave.counts(start)[member]
        numbers = inner[members == member]
        np.testing.assert_array_equal(numbers, np.arange(before, before + len(numbers)))
        expected = weight / sum(weights) * (start + 50)
        # One per level of splitting, and the rounding of the weights to 10^-6.
        slack = len(weights) + 1e-5 * (start + 50)
        assert abs(interleave.counts(start + 50)[member] - expected) <= slack


@given(
    weights=_WEIGHTS.filter(lambda w: len(w) > 1),
    length=st.integers(1, 50),
)
def test_mixture_is_as_long_as_its_members_allow(weights, length):
    interleave = _order.Interleave(weights)
    lengths = [length + i for i in range(len(weights))]
    longest = interleave.longest(lengths)
    fits = [c <= n for c, n in zip(interleave.counts(longest), lengths, strict=True)]
    assert all(fits)
    one_more = interleave.counts(longest + 1)
    assert any(c > n for c, n in zip(one_more, lengths, strict=True))


def _derived(seed, name):
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def _permutation(seed, epoch, length):
    key = np.array([seed, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(length).tolist()


def _rows(n=12, **changes):
    fields = {"seed": 7, "batch_size": None, "num_epochs": 2, "shuffle": True}
    return kd.data.py.DataSource({"x": np.arange(n)}, **{**fields, **changes})


def _mixture(kind, **changes):
    fields = {"seed": 7, "batch_size": None, "num_epochs": 2, "shuffle": True}
    if kind == "select":
        table = [(0, i) for i in range(12)]
        return kd.data.py.SelectFromDatasets(
            [_rows(shuffle=False)], selection_map=table, **{**fields, **changes}
        )
    return kd.data.py.Mix([_rows(shuffle=False)], **{**fields, **changes})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_rows, "shuffle"),
        (lambda: _mixture("mix"), "mix"),
        (lambda: _mixture("select"), "select"),
    ],
)
def test_orders_stay_the_same_from_version_to_version(make, name):
    """A run that goes on with another version goes on with the same data."""
    numbers = [int(element["x"]) for element in make()]
    seed = _derived(7, name)
    assert numbers == _permutation(seed, 0, 12) + _permutation(seed, 1, 12)


@dataclasses.dataclass(frozen=True)
class _AddNumber(kd.data.RandomMapTransform):
    def random_map(self, element, rng):
        return {**element, "number": rng.random()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OwnMapDataset(kd.data.py.PyGrainPipeline):
    def ds_for_current_process(self, rng):
        import grain

        return grain.MapDataset.source([{"x": i} for i in range(12)])


@pytest.mark.parametrize("kind", ["source", "mix", "select", "own"])
def test_every_example_of_every_epoch_has_random_numbers_of_its_own(kind):
    options = {"transforms": [_AddNumber()], "num_epochs": 3}
    if kind == "source":
        ds = _rows(**options)
    elif kind == "own":
        ds = _OwnMapDataset(seed=7, batch_size=None, **options)
    else:
        ds = _mixture(kind, **options)
    elements = [(int(e["x"]), float(e["number"])) for e in ds]
    assert sorted(x for x, _ in elements) == sorted(3 * list(range(12)))
    assert len({number for _, number in elements}) == 36


@dataclasses.dataclass(frozen=True)
class _OnlyLast(kd.data.FilterTransform):
    def filter(self, element):
        return element["x"] == 999


def test_filter_that_keeps_one_of_a_thousand_is_none_that_keeps_nothing():
    ds = _rows(1000, batch_size=2, num_epochs=None, transforms=[_OnlyLast()])
    with iter(ds) as batches:
        for _ in range(3):
            assert next(batches)["x"].tolist() == [999, 999]
