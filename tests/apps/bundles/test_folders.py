"""Apps in directories and zips: found, installed, packed; and their results."""

from __future__ import annotations

import pathlib

import pytest

from kauldron.apps.bundles import folders, results
from kauldron.apps.bundles import manifest as manifest_lib
from kauldron.apps.bundles.errors import AppError
from tests.apps.bundles import made


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(folders.ENV_VAR, str(tmp_path / "installed"))


@pytest.fixture
def app(tmp_path):
    made.write(tmp_path / "app")
    return tmp_path / "app"


def test_an_installed_app_is_found_by_its_name(app):
    (app / "stray.bin").write_bytes(b"not of the app")
    target = folders.install(app)
    assert folders.find_app("tissues") == target
    assert sorted(x.name for x in target.rglob("*") if x.is_file()) == [
        "app.json",
        "config.json",
        "fold_0.safetensors",
    ]
    [(path, manifest)] = folders.installed_apps()
    assert (path, manifest.name) == (target, "tissues")


def test_a_zip_is_the_same_app(app, tmp_path):
    folders.pack(app, tmp_path / "app.zip")
    folders.pack(app, tmp_path / "again.zip")
    assert (tmp_path / "app.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()
    expected = manifest_lib.read_manifest(app)
    assert manifest_lib.read_manifest(folders.install(tmp_path / "app.zip")) == expected
    with folders.opened(tmp_path / "app.zip") as (folder, manifest):
        assert manifest == expected
        assert (folder / "config.json").read_text() == "{}\n"
    assert not folder.exists()


def test_installing_twice_is_told_and_can_be_wanted(app):
    folders.install(app)
    with pytest.raises(AppError, match="--overwrite"):
        folders.install(app)
    folders.install(app, overwrite=True)
    assert len(folders.installed_apps()) == 1


def test_a_damaged_app_is_not_installed(app):
    (app / "config.json").write_text("[]\n")
    with pytest.raises(AppError, match="another checksum"):
        folders.install(app)
    assert folders.installed_apps() == []


def test_an_unknown_name_is_told_with_the_nearest(app):
    folders.install(app)
    with pytest.raises(AppError, match="Did you mean 'tissues'"):
        folders.find_app("tissue")


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = results.Result(
        out=tmp_path,
        verb="infer",
        app={"name": "tissues", "version": "1.0.0"},
        applied={"members": ["fold_0"], "tta": 0},
        cases=("a",),
        files=(
            results.ResultFile(
                path="predictions/a.nii.gz", kind="segmentation", output="x", case="a"
            ),
        ),
        values={"cases": {"a": {"dice": 0.5}}},
    )
    (result.out / results.FILE).write_bytes(result.to_bytes())
    assert results.read_result(tmp_path) == result
    assert str(tmp_path) not in (tmp_path / "result.json").read_text()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x"])
def test_files_of_a_result_are_in_its_folder(tmp_path, path):
    file = results.ResultFile(path=path, kind="table", output="x")
    result = results.Result(out=tmp_path, verb="infer", app={}, files=(file,))
    (tmp_path / results.FILE).write_bytes(result.to_bytes())
    with pytest.raises(AppError, match="in its folder"):
        results.read_result(tmp_path)
    with pytest.raises(AppError, match="no result"):
        results.read_result(pathlib.Path(tmp_path, "none"))


def test_what_is_damaged_says_so(app, tmp_path):
    """Cut off, without its description, or with one that may not be read."""
    folders.pack(app, tmp_path / "whole.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-300])
    with pytest.raises(AppError, match=r"cut.zip' is damaged .* the zip is cut off"):
        manifest_lib.read_manifest(tmp_path / "cut.zip")
    (app / "app.json").unlink()
    with pytest.raises(AppError, match=r"app' is damaged .* 'app.json' is missing"):
        manifest_lib.read_manifest(app)


def test_an_app_that_may_not_be_read_is_told(app, monkeypatch):
    def refuse(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    with pytest.raises(
        AppError, match=r"cannot be read: Permission denied: .*app.json"
    ):
        manifest_lib.read_manifest(app)


def test_damaged_apps_are_listed_apart(app, tmp_path):
    (tmp_path / "some_folder").mkdir()
    (tmp_path / "notes.txt").write_text("none")
    made.write(tmp_path / "bad")
    weights = tmp_path / "bad" / "members" / "fold_0.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    damaged = {}
    found = folders.installed_apps(
        tmp_path, check=True, on_damage=lambda path, e: damaged.update({path.name: e})
    )
    assert [path.name for path, _ in found] == ["app"]
    assert set(damaged) == {"bad", "cut.zip"}
    assert "another checksum" in str(damaged["bad"])
    with pytest.raises(AppError, match="There is no folder"):
        folders.installed_apps(tmp_path / "none")


def test_a_folder_of_a_near_name_is_suggested(app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AppError, match=r"there are none\. Did you mean 'app'\?"):
        folders.find_app("ap")
