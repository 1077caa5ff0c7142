"""Batches of `DataSource` and `InMemoryPipeline`: sizes, order, remainders, errors."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from kauldron import kd
from kauldron._base import processes

NUM_EXAMPLES = 10


def _records(num_examples=NUM_EXAMPLES):
    return [
        {"image": np.full((4, 4, 1), i, np.uint8), "label": i}
        for i in range(num_examples)
    ]


def _arrays(num_examples=NUM_EXAMPLES):
    return {
        "image": np.arange(num_examples, dtype=np.uint8)[:, None, None, None]
        * np.ones((4, 4, 1), np.uint8),
        "label": np.arange(num_examples),
    }


def _pipeline(kind, **kwargs):
    kwargs = {"batch_size": 3, "seed": 0, "num_epochs": 1, **kwargs}
    if kind == "in_memory":
        return kd.data.InMemoryPipeline(loader=_arrays, **kwargs)
    source = {"records": _records, "arrays": _arrays}[kind]()
    return kd.data.py.DataSource(source, **{"shuffle": False, **kwargs})


def _labels(ds):
    return [batch["label"].ravel().tolist() for batch in ds]


KINDS = ["records", "arrays", "in_memory"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("remainder", "expected"),
    [
        (None, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        (True, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        ("drop", [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
        (False, [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]),
        ("keep", [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]),
        ("pad", [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 0, 0]]),
    ],
)
def test_remainder_is_dropped_kept_or_padded(kind, remainder, expected):
    ds = _pipeline(kind, batch_drop_remainder=remainder)
    assert _labels(ds) == expected
    assert len(ds) == len(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_keeps_every_example_unless_the_config_says_otherwise(kind):
    batches = _labels(_pipeline(kind).for_evaluation())
    assert [label for batch in batches for label in batch] == list(range(10))
    dropping = _pipeline(kind, batch_drop_remainder=True)
    assert _labels(dropping.for_evaluation()) == _labels(dropping)


def test_data_are_loaded_once_for_training_and_evaluation():
    calls = []

    def load():
        calls.append(1)
        return _arrays()

    ds = kd.data.InMemoryPipeline(loader=load, batch_size=3, num_epochs=1, seed=0)
    for view in (ds, ds.for_evaluation(), ds.for_evaluation()):
        assert view.element_spec
        list(view)
    assert len(calls) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_is_another_permutation(kind):
    ds = _pipeline(kind, shuffle=True, num_epochs=3, batch_size=10)
    epochs = _labels(ds)
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_all_kinds_give_the_same_batches():
    transforms = [
        kd.data.ValueRange(key="image", vrange=(-1, 1)),
        kd.data.Rearrange(key="image", pattern="h w c -> (h w) c"),
        kd.data.Cast(key="label", dtype="int32"),
        kd.data.Rearrange(key="label", pattern="... -> ... 1"),
    ]
    first, *others = (
        list(_pipeline(kind, shuffle=True, transforms=transforms)) for kind in KINDS
    )
    for other in others:
        for a, b in zip(first, other, strict=True):
            for key in ("image", "label"):
                np.testing.assert_array_equal(a[key], b[key], strict=True)


def test_element_spec_is_that_of_a_batch_and_reads_one_element():
    reads = []

    class Source(list):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    ds = kd.data.py.DataSource(Source(_records()), shuffle=True, batch_size=4, seed=0)
    spec = ds.element_spec
    assert len(reads) == 1
    batch = next(iter(ds))
    assert spec["image"].shape == batch["image"].shape == (4, 4, 4, 1)
    assert spec["image"].dtype == batch["image"].dtype
    assert spec["label"].shape == (4,)


def test_without_batch_size_elements_are_single():
    ds = _pipeline("records", batch_size=None)
    elements = list(ds)
    assert len(elements) == len(ds) == 10
    assert elements[3]["image"].shape == (4, 4, 1)
    assert ds.element_spec["image"].shape == (4, 4, 1)


def test_endless_pipeline_has_no_length():
    ds = _pipeline("records", num_epochs=None)
    assert ds.is_endless
    with pytest.raises(TypeError, match=r"endless.*num_epochs"):
        len(ds)


@pytest.mark.parametrize("batch_size", [0, -4, 2.5, True])
def test_bad_batch_size_is_reported_at_construction(batch_size):
    with pytest.raises(kd.data.DataError, match=r"`batch_size` must be at least 1"):
        _pipeline("records", batch_size=batch_size)


def test_bad_remainder_is_reported_at_construction():
    with pytest.raises(ValueError, match=r"batch_drop_remainder.*got 'dorp'"):
        _pipeline("records", batch_drop_remainder="dorp")


def test_batch_larger_than_the_data_says_what_to_do():
    ds = _pipeline("records", batch_size=64)
    with pytest.raises(ValueError, match=r"more than the 10 examples.*batch_size=10"):
        next(iter(ds))


def test_empty_source_is_reported():
    with pytest.raises(ValueError, match=r"data source is empty"):
        iter(kd.data.py.DataSource([], shuffle=True, batch_size=1, seed=0))


def test_misspelt_key_error_suggests_the_nearest_key():
    ds = _pipeline(
        "records", transforms=[kd.data.ValueRange(key="imgae", vrange=(0, 1))]
    )
    with pytest.raises(KeyError, match=r"no key 'imgae'. Did you mean 'image'") as e:
        _ = ds.element_spec
    assert "transform #0, `ValueRange`" in "".join(e.value.__notes__)


def test_raising_transform_is_located():
    def fail_on_label_4(element):
        if element["label"] == 4:
            raise ZeroDivisionError("no")
        return element

    ds = _pipeline("records", transforms=[fail_on_label_4])
    batches = iter(ds)
    next(batches)
    with pytest.raises(ZeroDivisionError) as e:
        next(batches)
    (note,) = e.value.__notes__
    assert "transform #0, `fail_on_label_4`" in note
    assert "example 4" in note
    assert "uint8[4, 4, 1]" in note


def test_unequal_shapes_are_reported_with_key_and_shapes():
    source = [{"image": np.zeros((2 + i % 2, 3))} for i in range(4)]
    ds = kd.data.py.DataSource(source, shuffle=False, batch_size=4, seed=0)
    with pytest.raises(
        ValueError,
        match=r"'image' cannot.*\(2, 3\) in example 0, \(3, 3\) in example 1",
    ):
        next(iter(ds))


def test_unequal_keys_are_reported():
    source = [{"a": 1}, {"b": 1}]
    ds = kd.data.py.DataSource(source, shuffle=False, batch_size=2, seed=0)
    with pytest.raises(ValueError, match=r"same keys.*\['a'\].*\['b'\]"):
        next(iter(ds))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_batches", [0, 1, 4, 7])
def test_iterator_resumes_at_the_example_after_the_checkpoint(kind, num_batches):
    ds = _pipeline(kind, shuffle=True, num_epochs=4)
    uninterrupted = _labels(ds)
    batches = iter(ds)
    for _ in range(num_batches):
        next(batches)
    state = json.loads(json.dumps(batches.get_state()))
    resumed = iter(_pipeline(kind, shuffle=True, num_epochs=4))
    resumed.set_state(state)
    assert _labels(resumed) == uninterrupted[num_batches:]


def test_saved_position_of_other_data_is_refused():
    state = iter(_pipeline("records")).get_state()
    other = kd.data.py.DataSource(_records(12), shuffle=False, batch_size=3, seed=0)
    with pytest.raises(ValueError, match=r"saved with 10 examples, the dataset has 12"):
        iter(other).set_state(state)
    with pytest.raises(ValueError, match=r"seed=0, the pipeline has seed=7"):
        iter(_pipeline("records", seed=7)).set_state(state)
    with pytest.raises(ValueError, match=r"does not belong"):
        iter(_pipeline("records")).set_state({"next_index": 3})


def test_arbitrary_seed_is_restored_with_the_position():
    ds = kd.data.py.DataSource(_records(), shuffle=True, batch_size=3, num_epochs=2)
    batches = iter(ds)
    next(batches)
    state = batches.get_state()
    other = iter(dataclasses.replace(ds))
    other.set_state(state)
    assert _labels(other) == _labels(batches)


@pytest.mark.parametrize("remainder", [None, False, "pad"])
@pytest.mark.parametrize("filtered", [False, True])
def test_global_batches_do_not_depend_on_the_number_of_processes(
    monkeypatch, remainder, filtered
):
    def batches_of(index, count):
        monkeypatch.setattr(processes, "index_and_count", lambda: (index, count))
        ds = _pipeline(
            "records",
            shuffle=True,
            batch_size=4,
            num_epochs=2,
            batch_drop_remainder=remainder,
            transforms=[_IsNot3()] if filtered else [],
        )
        iterator = iter(ds)
        return [(b["label"].tolist(), iterator.has_whole_batch) for b in iterator]

    single = [labels for labels, _ in batches_of(0, 1)]
    parts = [batches_of(i, 2) for i in range(2)]
    assert len(parts[0]) == len(parts[1]) == len(single)
    for expected, (left, whole), (right, _) in zip(single, *parts, strict=True):
        assert (left if whole else left + right) == expected


@dataclasses.dataclass(frozen=True)
class _IsNot3(kd.data.FilterTransform):
    def filter(self, element):
        return element["label"] != 3


def test_filter_drops_and_resumes_exactly():
    ds = _pipeline("records", transforms=[_IsNot3()], num_epochs=2)
    assert _labels(ds) == [[0, 1, 2], [4, 5, 6], [7, 8, 9]] * 2
    batches = iter(ds)
    for _ in range(4):
        next(batches)
    resumed = iter(ds)
    resumed.set_state(batches.get_state())
    assert _labels(resumed) == [[4, 5, 6], [7, 8, 9]]


def test_filter_that_keeps_nothing_is_reported():
    @dataclasses.dataclass(frozen=True)
    class Never(kd.data.FilterTransform):
        def filter(self, element):
            return False

    ds = _pipeline("records", transforms=[Never()], num_epochs=None)
    with pytest.raises(ValueError, match=r"keep none of the 10 examples"):
        next(iter(ds))


def test_uneven_batch_over_processes_names_sizes_that_work(monkeypatch):
    monkeypatch.setattr(processes, "index_and_count", lambda: (0, 4))
    ds = _pipeline("records", batch_size=6)
    with pytest.raises(ValueError, match=r"got 6 for 4 processes. Use 4 or 8"):
        next(iter(ds))


def test_building_a_dataset_imports_neither_jax_nor_grain():
    code = (
        "import sys, numpy as np\n"
        "from kauldron import kd\n"
        "ds = kd.data.py.DataSource(np.arange(9), shuffle=True, batch_size=2, seed=0,\n"
        "                           transforms=[lambda x: {'x': x}])\n"
        "ds.element_spec, next(iter(ds))\n"
        "assert not {'jax', 'grain', 'tensorflow'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class _Noise(kd.data.RandomMapTransform):
    def random_map(self, element, rng):
        return {**element, "noise": rng.random(3)}


class _NoiseOfBatch(kd.data.BatchTransform):
    def map_batch(self, batch, draws):
        return {**batch, "noise_of_batch": draws.uniform()}


def test_the_batch_of_an_only_example_needs_no_source():
    def only(example):
        transforms = [_Noise(), _NoiseOfBatch()]
        options = {"seed": 7, "batch_drop_remainder": False, "batch_size": 3}
        options |= {"num_epochs": 1, "shuffle": False, "transforms": transforms}
        return kd.data.py.DataSource([example], **options)

    example = _records()[4]
    (expected,) = only(example)
    batch = only(None).parts().batch_of(example)
    assert batch.keys() == {"image", "label", "noise", "noise_of_batch"}
    for key, value in expected.items():
        np.testing.assert_array_equal(batch[key], value, strict=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pairs(kd.data.ChunkTransform):
    chunk_size: int = 2

    def map_chunk(self, elements):
        return elements[:1]


@pytest.mark.parametrize(
    ("transform", "keeps_rows"),
    [(_Noise(), True), (_IsNot3(), False), (_Pairs(), False)],
)
def test_pipelines_tell_whether_each_example_becomes_a_row(transform, keeps_rows):
    assert _pipeline("records", transforms=[transform]).parts().keeps_rows is keeps_rows
