"""Which files belong together, and what a case is called."""

from __future__ import annotations

import pytest

from kauldron.apps.bundles import cases
from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from tests.apps.bundles import made


def _files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def _cases(call):
    manifest = made.manifest()
    return cases.cases_of(call.check(manifest), manifest)


def test_the_nth_files_of_all_inputs_are_one_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _files(tmp_path, "a.nii.gz", "b.nii.gz", "c.mha", "d.mha", "r.nii", "s.nii")
    call = Call(
        verb="evaluate",
        inputs={"t1": ("a.nii.gz", "b.nii.gz"), "t2": ("c.mha", "d.mha")},
        references={"tissue": ("r.nii", "s.nii")},
    )
    assert _cases(call) == [
        cases.Case(
            name="a", files={"t1": "a.nii.gz", "t2": "c.mha", "tissue": "r.nii"}
        ),
        cases.Case(
            name="b", files={"t1": "b.nii.gz", "t2": "d.mha", "tissue": "s.nii"}
        ),
    ]


def test_a_folder_stands_for_the_files_in_it_in_order(tmp_path):
    _files(tmp_path, "in/b.nii", "in/a.mha", "in/notes.pdf", "in/.hidden.nii")
    call = Call(verb="infer", inputs={"": (str(tmp_path / "in"),)})
    assert [case.name for case in _cases(call)] == ["a", "b"]


@pytest.mark.parametrize("names", [["1.dcm", "2.dcm"], ["IM0001", "IM0002"]])
def test_a_folder_of_slices_is_one_volume(tmp_path, names):
    _files(tmp_path / "series_7", *names)
    call = Call(verb="infer", inputs={"": (str(tmp_path / "series_7"),)})
    assert [case.name for case in _cases(call)] == ["series_7"]
    call = Call(verb="infer", inputs={"": (str(tmp_path),)})
    assert [case.name for case in _cases(call)] == ["series_7"]


def test_files_of_one_name_are_cases_of_different_names(tmp_path):
    _files(tmp_path, "p1/t1.nii", "p2/t1.nii")
    call = Call(verb="infer", inputs={"": (f"{tmp_path}/p*/t1.nii",)})
    assert [case.name for case in _cases(call)] == ["t1", "t1_2"]


def test_what_is_not_there_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, match in [
        (f"{tmp_path}/x.nii", "does not exist"),
        (f"{tmp_path}/*.nii", "No file of 't1' matches"),
        (f"{tmp_path}/empty", "has no file of the kind 'volume'"),
    ]:
        with pytest.raises(AppError, match=match):
            _cases(Call(verb="infer", inputs={"": (path,)}))


def test_folders_with_different_numbers_of_files_are_told(tmp_path):
    _files(tmp_path, "t1/a.nii", "t1/b.nii", "t2/a.nii")
    inputs = {"t1": (f"{tmp_path}/t1",), "t2": (f"{tmp_path}/t2",)}
    with pytest.raises(AppError, match=r"got \{'t1': 2, 't2': 1\}"):
        _cases(Call(verb="infer", inputs=inputs))
