"""Which cases a selection names, and who gets which part of a split."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from kauldron import kd
from tests.volumes.cases import volumes_on_disk

_NAMES = [f"case_{i}" for i in range(10)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return volumes_on_disk.write_cases(tmp_path_factory.mktemp("cases"), 10)


def _names(root, **fields):
    ds = kd.volumes.VolumeCases(root, groups={"ct": "ct.npy"}, batch_size=1, **fields)
    return list(ds.case_names)


def test_every_way_to_name_cases(root, tmp_path):
    listed = tmp_path / "val.txt"
    listed.write_text("# the good ones\ncase_7\n\n2:4\n")
    for select, expected in {
        "case_3": [3],
        "case_[12]": [1, 2],
        "2:5": [2, 3, 4],
        "-2:": [8, 9],
        "::4": [0, 4, 8],
        "~3:": [0, 1, 2],
        str(listed): [2, 3, 7],
        f"~{listed}": [0, 1, 4, 5, 6, 8, 9],
    }.items():
        assert _names(root, select=select) == [f"case_{i}" for i in expected], select
    assert _names(root, select=4) == ["case_4"]
    assert _names(root, select=[-1, "case_0", "2:4", "~case_3"]) == [
        "case_0",
        "case_2",
        "case_9",
    ]


def test_a_selection_that_names_nothing_says_what_there_is(root, tmp_path):
    with pytest.raises(kd.volumes.VolumeError, match="Did you mean 'case_1'") as error:
        _names(root, select="cse_1")
    assert "and 4 more" in str(error.value)
    with pytest.raises(kd.volumes.VolumeError, match="leaves no case"):
        _names(root, select=["case_1", "~:"])
    with pytest.raises(kd.volumes.VolumeError, match=r"There is no case 10"):
        _names(root, select=10)
    with pytest.raises(kd.volumes.VolumeError, match=r"kd.volumes.Split"):
        _names(root, select=0.5)
    with pytest.raises(kd.volumes.VolumeError, match=r"val.txt' does not exist"):
        _names(root, select="val.txt")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("case_77\n")
    with pytest.raises(kd.volumes.VolumeError, match="There is no case") as error:
        _names(root, select=str(wrong))
    assert "wrong.txt" in error.value.__notes__[0]


@pytest.mark.parametrize("by", ["hash", "shuffle", "order"])
def test_parts_of_a_split_have_every_case_once(by):
    parts = {"train": 0.7, "val": 0.2, "test": 0.1}
    names = [f"case_{i}" for i in range(50)]
    found = [kd.volumes.Split(part, parts, by=by, seed=3).of(names) for part in parts]
    assert sorted(itertools.chain.from_iterable(found)) == sorted(names)
    if by != "hash":
        assert [len(part) for part in found] == [35, 10, 5]
    if by == "order":
        assert found[0] == names[:35]


def test_by_hash_a_case_keeps_its_part_when_others_are_added():
    split = kd.volumes.Split("val", {"train": 0.5, "val": 0.5})
    before = split.of(_NAMES)
    names = sorted([*_NAMES, "aaa", "case_55", "zzz"])
    assert [name for name in split.of(names) if name in _NAMES] == before
    # Pinned: the same in every version, process and machine.
    assert before == ["case_1", "case_5"]


def test_a_split_is_the_same_in_another_process():
    code = (
        "from kauldron import kd; names = [f'case_{i}' for i in range(10)]; "
        "print(kd.volumes.Split('a', {'a': .5, 'b': .5}, seed=7).of(names))"
    )
    split = kd.volumes.Split("a", {"a": 0.5, "b": 0.5}, seed=7)
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == str(split.of(_NAMES))
    other_seed = kd.volumes.Split("a", {"a": 0.5, "b": 0.5}, seed=8)
    assert other_seed.of(_NAMES) != split.of(_NAMES)


def test_parts_can_be_named_and_one_is_the_rest():
    parts = {"test": ["case_0", "8:"], "val": 0.5, "train": None}
    found = {
        part: kd.volumes.Split(part, parts, by="order").of(_NAMES) for part in parts
    }
    assert found["test"] == ["case_0", "case_8", "case_9"]
    # Half of the seven that nobody named, rounded down.
    assert found["val"] == ["case_1", "case_2", "case_3"]
    assert found["train"] == ["case_4", "case_5", "case_6", "case_7"]


def test_splits_that_cannot_be():
    error = kd.volumes.VolumeError
    with pytest.raises(error, match="Did you mean 'train'"):
        kd.volumes.Split("trian", {"train": 0.5, "val": 0.5})
    with pytest.raises(error, match="sum up to at most 1"):
        kd.volumes.Split("train", {"train": 0.8, "val": 0.3})
    with pytest.raises(error, match="is the rest"):
        kd.volumes.Split("a", {"a": None, "b": None})
    with pytest.raises(error, match="'hash', 'shuffle' or 'order'"):
        kd.volumes.Split("a", {"a": 0.5}, by="random")
    with pytest.raises(error, match="Two parts of the split have the case 'case_0'"):
        kd.volumes.Split("a", {"a": ":3", "b": "case_0"}).of(_NAMES)
    with pytest.raises(error, match=r"none of the 2 cases.*by='shuffle'"):
        kd.volumes.Split("a", {"a": 0.01, "b": 0.99}).of(_NAMES[:2])
