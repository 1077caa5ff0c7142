"""`app.json`: what an app says about itself, how damage and versions are told."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import pytest

from kauldron.apps.bundles import manifest as manifest_lib
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.ports import Port
from tests.apps.bundles import made


@pytest.fixture
def app(tmp_path):
    made.write(tmp_path / "app")
    return tmp_path / "app"


def _edit(app, **changes):
    entry = json.loads((app / "app.json").read_text())
    (app / "app.json").write_text(json.dumps({**entry, **changes}))


def _zip(app):
    return shutil.make_archive(str(app), "zip", app)


@pytest.mark.parametrize("pack", [str, _zip], ids=["folder", "zip"])
def test_what_is_read_is_what_was_written(app, pack):
    read = manifest_lib.read_manifest(pack(app))
    expected = made.manifest(files=read.files)
    assert read == expected
    weights = (app / "members" / "fold_0.safetensors").read_bytes()
    entry = read.files["members/fold_0.safetensors"]
    assert (entry.bytes, entry.sha256) == (10240, hashlib.sha256(weights).hexdigest())


def test_reading_needs_no_jax(app):
    code = (
        "import sys; from kauldron.apps.bundles import manifest, calls; "
        f"manifest.read_manifest({str(app)!r}); "
        "found = {'jax', 'flax', 'numpy', 'orbax'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("pack", [str, _zip], ids=["folder", "zip"])
def test_a_changed_byte_is_told_by_its_file(app, pack):
    file = app / "members" / "fold_0.safetensors"
    content = bytearray(file.read_bytes())
    content[7000] ^= 1
    file.write_bytes(content)
    path = pack(app)
    with pytest.raises(AppError, match=r"fold_0\.safetensors' has another checksum"):
        manifest_lib.read_manifest(path)
    assert manifest_lib.read_manifest(path, check=False).name == "tissues"


@pytest.mark.parametrize("pack", [str, _zip], ids=["folder", "zip"])
@pytest.mark.parametrize("check", [True, False])
def test_a_cut_or_missing_file_is_told_also_without_checksums(app, pack, check):
    file = app / "members" / "fold_0.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AppError, match="has 10239 bytes in place of 10240"):
        manifest_lib.read_manifest(pack(app), check=check)
    file.unlink()
    with pytest.raises(AppError, match=r"fold_0\.safetensors' is missing"):
        manifest_lib.read_manifest(pack(app), check=check)


def test_a_newer_version_says_what_to_do(app):
    _edit(app, format_version=manifest_lib.VERSION + 1)
    with pytest.raises(AppError, match="use a newer Kauldron"):
        manifest_lib.read_manifest(app)


def test_what_lacks_newer_fields_is_read_with_their_defaults(app):
    entry = json.loads((app / "app.json").read_text())
    keep = ("format", "format_version", "name", "inputs", "files")
    (app / "app.json").write_text(json.dumps({k: entry[k] for k in keep}))
    read = manifest_lib.read_manifest(app)
    assert (read.version, read.max_tta, read.verbs) == ("1.0.0", 0, ())


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "other"}, "not that of an app"),
        ({"name": "../up"}, "Names of apps"),
        ({"members": ["../../x"]}, "Names of members"),
        ({"name": 3}, "'name' .* must be a text: got 3"),
        ({"max_mc": True}, "'max_mc' .* must be a whole number: got True"),
        ({"inputs": []}, "has no inputs"),
        ({"inputs": [{"name": "x", "kind": "volum"}]}, "Did you mean 'volume'"),
        ({"inputs": [{"name": "a=b", "kind": "image"}]}, "Names of inputs"),
        ({"inputs": {"name": "x"}}, "'inputs' .* must be a list"),
        ({"files": {"../x": {"bytes": 1, "sha256": ""}}}, "inside of it"),
        ({"files": {"/etc/x": {"bytes": 1, "sha256": ""}}}, "inside of it"),
        ({"files": {"x": 3}}, "'x' .* must be an object"),
    ],
)
def test_a_wrong_description_is_told(app, changes, match):
    _edit(app, **changes)
    with pytest.raises(AppError, match=match):
        manifest_lib.read_manifest(app)


def test_what_is_no_app_is_told(tmp_path):
    with pytest.raises(AppError, match="There is no app at"):
        manifest_lib.read_manifest(tmp_path)
    (tmp_path / "app.json").write_text("{")
    with pytest.raises(AppError, match=r"its app\.json is no JSON"):
        manifest_lib.read_manifest(tmp_path)
    (tmp_path / "app.json").write_text("[" * 200_000)
    with pytest.raises(AppError, match=r"its app\.json is no JSON"):
        manifest_lib.read_manifest(tmp_path)


def test_a_required_input_has_no_default():
    with pytest.raises(AppError, match="The default of the optional input 't2'"):
        Port(name="t2", kind="volume", default="zeros")
