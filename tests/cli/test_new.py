"""`kauldron new`: a project that runs at once, and names that cannot be."""

from __future__ import annotations

import pytest

from kauldron.cli import new


def test_a_project_is_written_with_its_name_in_place(call, tmp_path):
    folder = tmp_path / "here"
    code, out, err = call(new.main, "spirals", f"--out={folder}")
    assert code == 0, err
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {
        ".gitignore",
        "Makefile",
        "README.md",
        "configs/train.py",
        "pyproject.toml",
        "spirals/__init__.py",
        "spirals/data.py",
        "spirals/models.py",
        "tests/test_spirals.py",
    }
    assert str(folder / "configs/train.py") in out
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert "PACKAGE" not in path.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-project", "'my_project'"),
        ("Spirals", "small letters"),
        ("class", "Python package"),
        ("json", "something else"),
        ("kauldron", "something else"),
    ],
)
def test_names_that_cannot_be_are_refused(call, tmp_path, name, message):
    folder = tmp_path / "new"
    code, _, err = call(new.main, name, f"--out={folder}")
    assert (code, message in err) == (2, True)
    assert not folder.exists()


def test_what_is_there_is_left_alone(call, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call(new.main, "spirals", f"--out={tmp_path}")
    assert code == 2 and "there already" in err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    code, _, err = call(new.main)
    assert code == 2 and "kauldron new myproject" in err
