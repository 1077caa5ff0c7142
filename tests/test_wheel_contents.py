"""What a wheel of the project holds, without installing it."""

from __future__ import annotations

import email
import os
import pathlib
import zipfile

import pytest
from flit_core import buildapi

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    before = pathlib.Path.cwd()
    os.chdir(ROOT)  # the build interface knows no other way
    try:
        name = buildapi.build_wheel(str(folder))
    finally:
        os.chdir(before)
    with zipfile.ZipFile(folder / name) as archive:
        yield archive


def test_it_holds_the_package_and_no_examples_configs_or_tests(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"kauldron", next(t for t in tops if t.endswith(".dist-info"))}


def test_it_holds_every_module_of_the_package(wheel):
    ours = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("kauldron/**/*.py")}
    assert ours <= set(wheel.namelist())


def test_it_holds_the_licence_and_names_it(wheel):
    (path,) = (n for n in wheel.namelist() if n.endswith("LICENSE"))
    assert "Apache License" in wheel.read(path).decode()
    assert (ROOT / "LICENSE").read_bytes() == wheel.read(path)
    (path,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"


def test_the_readme_says_that_examples_are_not_in_it():
    text = " ".join((ROOT / "README.md").read_text().split())
    assert "an installed wheel holds the package `kauldron` alone" in text
