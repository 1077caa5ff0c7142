"""One contract for every kind of pipeline: saved at any step, the tail is the same."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kauldron import kd
from kauldron.data import _batch_builders, _workers

NUM_EXAMPLES = 11


def _arrays():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (NUM_EXAMPLES, 6, 5, 3), dtype=np.uint8),
        "id": np.arange(NUM_EXAMPLES),
    }


def _records():
    arrays = _arrays()
    return [{k: v[i] for k, v in arrays.items()} for i in range(NUM_EXAMPLES)]


@dataclasses.dataclass(frozen=True)
class KeepMost(kd.data.FilterTransform):
    def filter(self, element):
        return int(element["id"]) % 4 != 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnMapDataset(kd.data.py.PyGrainPipeline):
    """A pipeline as users of the published API write it."""

    def ds_for_current_process(self, rng):
        import grain

        return grain.MapDataset.source(_records()).seed(rng.as_seed()).shuffle()


_TRANSFORMS = (
    kd.data.RandomCrop(key="image", shape=(4, 4, None)),
    kd.data.RandomFlipLeftRight(key="image"),
)
_COMMON = {"batch_size": 4, "seed": 5, "num_epochs": 4, "transforms": _TRANSFORMS}


def _data_source(source, **kwargs):
    return kd.data.py.DataSource(source, **{"shuffle": True, **_COMMON, **kwargs})


def _members():
    return [
        _data_source(_arrays(), transforms=[]),
        _data_source(_records(), transforms=[kd.data.py.SliceDataset(5)]),
        _data_source(_records(), transforms=[KeepMost()]),
    ]


KINDS = {
    "arrays": lambda: _data_source(_arrays()),
    "records": lambda: _data_source(_records()),
    "in_memory": lambda: kd.data.InMemoryPipeline(
        loader=_arrays, shuffle=True, **_COMMON
    ),
    "unbatched": lambda: _data_source(_arrays(), batch_size=None),
    "padded": lambda: _data_source(_arrays(), batch_drop_remainder="pad"),
    "kept": lambda: _data_source(_arrays(), batch_drop_remainder=False),
    "filtered": lambda: _data_source(_records(), transforms=[KeepMost(), *_TRANSFORMS]),
    "sliced": lambda: _data_source(
        _arrays(), transforms=[kd.data.py.SliceDataset(1, None, 2), *_TRANSFORMS]
    ),
    "mix": lambda: kd.data.py.Mix(_members()[:2], weights=[0.7, 0.3], **_COMMON),
    "mix_of_filtered": lambda: kd.data.py.Mix(_members(), **_COMMON),
    "select": lambda: kd.data.py.SelectFromDatasets(
        _members()[:2], selection_map=[(0, 1), (1, 2), (0, 1), (0, 9)], **_COMMON
    ),
    "own_map_dataset": lambda: OwnMapDataset(**_COMMON),
    "bad_records": lambda: _data_source(_FailingSource(), max_bad_records=99),
    "batch_mapped": lambda: _data_source(_arrays()).map(_double),
    "prefetched": lambda: _data_source(_arrays()).prefetch(2),
    "taken": lambda: _data_source(_arrays(), num_epochs=None).take(7),
    "cached": lambda: _data_source(_arrays(), num_epochs=None).take(5).cache(),
    "on_device": lambda: _data_source(_arrays(), batch_size=8).device_put().prefetch(),
}


def _double(batch):
    return {**batch, "image": batch["image"] * 2.0}


class _FailingSource:
    def __len__(self):
        return NUM_EXAMPLES

    def __getitem__(self, index):
        if index in (2, 7):
            raise OSError(f"block {index} is damaged")
        return _records()[index]


@functools.cache
def _uninterrupted(kind):
    return list(KINDS[kind]())


def _assert_equal(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(np.asarray(a[key]), np.asarray(b[key]))


def _assert_resumes(kind, num_before, **changes):
    expected = _uninterrupted(kind)
    ds = KINDS[kind]()
    with iter(dataclasses.replace(ds, **changes) if changes else ds) as batches:
        before = list(itertools.islice(batches, num_before))
        state = json.loads(json.dumps(batches.get_state()))
    _assert_equal(before, expected[:num_before])
    with iter(ds) as resumed:
        resumed.set_state(state)
        _assert_equal(list(resumed), expected[num_before:])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_tail_is_the_same_after_saving_at_any_step(kind, data):
    last = len(_uninterrupted(kind))
    assert last > 1
    _assert_resumes(kind, data.draw(st.integers(0, last), label="step"))


@pytest.mark.parametrize("kind", KINDS)
def test_state_can_be_set_on_an_iterator_in_use(kind):
    expected = _uninterrupted(kind)
    with iter(KINDS[kind]()) as batches:
        next(batches)
        state = batches.get_state()
        next(batches)
        batches.set_state(state)
        _assert_equal(list(batches), expected[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_element_spec_and_length_are_those_of_the_batches(kind):
    ds = KINDS[kind]()
    first = _uninterrupted(kind)[0]
    for key, spec in ds.element_spec.items():
        assert spec.shape == first[key].shape
        assert spec.dtype == first[key].dtype
    if not any(word in kind for word in ("filtered", "bad", "own")):
        assert len(ds) == len(_uninterrupted(kind))


_BUILT_IN_WORKERS = [
    k
    for k in KINDS
    if k not in ("batch_mapped", "prefetched", "taken", "cached", "on_device")
]


def _with_workers():
    """All kinds and numbers of workers; one of them is in the fast tests."""
    for kind, num_workers in itertools.product(_BUILT_IN_WORKERS, [1, 2]):
        is_fast = (kind, num_workers) == ("mix_of_filtered", 2)
        marks = [] if is_fast else [pytest.mark.slow]
        yield pytest.param(kind, num_workers, marks=marks)


@pytest.mark.parametrize(("kind", "num_workers"), list(_with_workers()))
def test_workers_change_nothing_and_may_change_on_resume(kind, num_workers):
    _assert_resumes(kind, 2, num_workers=num_workers)


def test_thread_changes_nothing(monkeypatch):
    monkeypatch.setattr(_batch_builders, "_MIN_SECS_FOR_THREAD", 0.0)
    for kind in ("arrays", "filtered", "kept"):
        expected = _uninterrupted(kind)
        with iter(KINDS[kind]()) as batches:
            _assert_equal(list(batches), expected)
            with pytest.raises(StopIteration):
                next(batches)


def test_batch_size_may_change_on_resume():
    ids = [i for batch in _uninterrupted("arrays") for i in batch["id"].tolist()]
    with iter(KINDS["arrays"]()) as batches:
        next(batches)
        state = batches.get_state()
    with iter(dataclasses.replace(KINDS["arrays"](), batch_size=2)) as resumed:
        resumed.set_state(state)
        assert [i for b in resumed for i in b["id"].tolist()] == ids[4:]


@pytest.mark.slow
def test_consumer_that_waits_gets_processes_without_a_change_of_data(monkeypatch):
    monkeypatch.setattr(_workers, "_num_cores", lambda: 4)
    monkeypatch.setattr(_workers, "_may_spawn", lambda: True)
    monkeypatch.setattr(_batch_builders, "_START_SECS", 0.05)
    ds = _data_source(_arrays(), transforms=[_Slow()], num_epochs=60)
    with iter(ds) as batches:
        ids = [batch["id"].tolist() for batch in batches]
        assert isinstance(batches._runner._processes, _batch_builders._Processes)
    with iter(dataclasses.replace(ds, transforms=[])) as batches:
        assert ids == [batch["id"].tolist() for batch in batches]


class _Slow:
    def __call__(self, element):
        time.sleep(0.002)
        return element


class _Dies:
    def __call__(self, element):
        if element["id"] == 3:
            os._exit(7)
        return element


class _Raises:
    def __call__(self, element):
        if element["id"] == 3:
            raise ZeroDivisionError("of a transform")
        return element


@pytest.mark.slow
def test_worker_that_dies_is_reported():
    ds = _data_source(_records(), transforms=[_Dies()], num_workers=1)
    with iter(ds) as batches, pytest.raises(ValueError, match=r"died.*exit code 7"):
        list(batches)


def _mark_worker(index, count):
    os.environ["TEST_WORKER"] = f"{index} of {count}"


def _add_environment(element):
    import jax

    return {
        **element,
        "worker": os.environ.get("TEST_WORKER", ""),
        "platform": jax.default_backend(),
    }


@pytest.mark.slow
def test_workers_are_initialised_and_keep_off_the_accelerator():
    ds = _data_source(
        _records(),
        transforms=[_add_environment],
        num_workers=2,
        worker_init_fn=_mark_worker,
    )
    with iter(ds) as batches:
        first, second = next(batches), next(batches)
    assert set(first["worker"]) == {"0 of 2"}
    assert set(second["worker"]) == {"1 of 2"}
    assert set(first["platform"]) == {"cpu"}


@pytest.mark.slow
def test_error_in_a_worker_keeps_type_and_place():
    ds = _data_source(_records(), transforms=[_Raises()], num_workers=1)
    with iter(ds) as batches, pytest.raises(ZeroDivisionError) as e:
        list(batches)
    notes = "\n".join(e.value.__notes__)
    assert "In transform #0, `_Raises`. The element was example 3" in notes
    assert "In a worker process" in notes


_ENDLESS_SCRIPT = """
import numpy as np
from kauldron import kd

if __name__ == "__main__":
    ds = kd.data.py.DataSource(
        np.arange(8), shuffle=True, batch_size=2, seed=0, num_workers=2,
        transforms=[lambda x: {"x": x}],
    )
    for batch in ds:
        print(batch, flush=True)
"""


@pytest.mark.slow
def test_interrupt_ends_the_workers(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(_ENDLESS_SCRIPT)
    root = str(pathlib.Path(kd.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
        start_new_session=True,
    )
    assert process.stdout.readline().startswith(b"{'x'")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.stdout.close()
    process.wait(timeout=20)
    deadline = time.monotonic() + 10
    while _group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _group_is_alive(process.pid)


def _group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_closed_iterators_leave_no_process():
    with iter(_data_source(_records(), num_workers=1)) as batches:
        next(batches)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_bad_records_are_counted_up_to_the_limit():
    ds = _data_source(_FailingSource(), num_epochs=1, max_bad_records=2)
    with iter(ds) as batches:
        ids = {int(i) for batch in batches for i in batch["id"]}
        assert batches.num_bad_records == 2
    assert not ids & {2, 7}
    strict = dataclasses.replace(ds, max_bad_records=1)
    with iter(strict) as batches, pytest.raises(ValueError) as e:
        list(batches)
    assert "2 records of `DataSource` cannot be read" in str(e.value)
    assert "is damaged" in str(e.value)


@pytest.mark.parametrize(
    ("of_mixture", "of_members", "is_enough"),
    [(0, (2, 2), True), (1, (2, 1), True), (0, (2, 1), False), (1, (1, 1), False)],
)
def test_a_mixture_skips_as_many_bad_records_as_it_and_its_members_may(
    of_mixture, of_members, is_enough
):
    members = [_data_source(_FailingSource(), max_bad_records=n) for n in of_members]
    ds = kd.data.py.Mix(
        members, seed=0, batch_size=4, num_epochs=1, max_bad_records=of_mixture
    )
    with iter(ds) as batches:
        if is_enough:
            list(batches)
            assert batches.num_bad_records == 4
        else:
            limit = of_mixture + sum(of_members)
            with pytest.raises(ValueError, match=f"max_bad_records={limit}"):
                list(batches)


def test_unreadable_record_is_named():
    ds = _data_source(_FailingSource(), shuffle=False)
    with iter(ds) as batches, pytest.raises(OSError, match="block 2") as e:
        next(batches)
    assert "While reading example 2 of" in e.value.__notes__[0]


def test_unreadable_record_in_the_middle_of_a_batch_is_named():
    """Record 7 of a batch that begins with record 5."""
    source = _data_source(_FailingSource(), shuffle=False, batch_size=4)
    after_the_first = kd.data.py.SliceDataset(5, None)
    ds = dataclasses.replace(source, transforms=[after_the_first])
    with iter(ds) as batches, pytest.raises(OSError, match="block 7") as e:
        next(batches)
    assert "While reading example 7 of" in e.value.__notes__[0]
