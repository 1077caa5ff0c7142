"""A config of your own is trusted; a changed one, and one from elsewhere, is not."""

from __future__ import annotations

import concurrent.futures
import hashlib
import hmac
import json
import shutil
import stat

import pytest
from etils import epath

from kauldron import konfig
from kauldron.workdir import signatures, workdirs


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def workdir(tmp_path):
    """A run whose config names a package that configs from elsewhere may not."""
    folder = tmp_path / "run"
    folder.mkdir()
    content = {"__qualname__": "examples.digits_data:Digits", "split": "train"}
    (folder / "config.json").write_text(json.dumps(content))
    signatures.sign(epath.Path(folder) / "config.json")
    return folder


def resolve(folder):
    return workdirs.get_resolved(folder, config_update_fn=_without_workdir)


def _without_workdir(cfg):
    del cfg["workdir"]  # `Digits` has no such field
    return cfg


def test_own_config_may_name_any_package(workdir):
    assert resolve(workdir).split == "train"


def test_signature_is_the_hmac_of_the_config_with_a_private_key(workdir, home):
    key = home / "kauldron" / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    expected = hmac.new(
        key.read_bytes(), (workdir / "config.json").read_bytes(), hashlib.sha256
    )
    signature = (workdir / "config.signature").read_text()
    assert signature == f"{expected.hexdigest()}\n"


def test_run_that_was_moved_is_still_trusted(workdir, tmp_path):
    shutil.move(workdir, tmp_path / "moved")
    assert resolve(tmp_path / "moved").split == "train"


def test_config_that_was_changed_is_not_trusted(workdir):
    path = workdir / "config.json"
    path.write_text(path.read_text().replace("train", "test"))
    with pytest.raises(konfig.UntrustedError, match="examples"):
        resolve(workdir)


@pytest.mark.parametrize("signature", [None, "", "0" * 64, "é", b"\xff\xfe"])
def test_signature_that_is_missing_or_wrong_is_not_trusted(workdir, signature):
    path = workdir / "config.signature"
    if signature is None:
        path.unlink()
    elif isinstance(signature, bytes):
        path.write_bytes(signature)
    else:
        path.write_text(signature)
    with pytest.raises(konfig.UntrustedError, match="examples"):
        resolve(workdir)


def test_run_of_another_user_is_not_trusted(workdir, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    with pytest.raises(konfig.UntrustedError, match="examples"):
        resolve(workdir)
    assert not (tmp_path / "other").exists()


def test_signatures_can_be_switched_off(workdir, monkeypatch):
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "0")
    with pytest.raises(konfig.UntrustedError, match="examples"):
        resolve(workdir)


def test_run_without_a_home_is_not_signed_and_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    config = epath.Path(tmp_path) / "config.json"
    config.write_text("{}")
    signatures.sign(config)
    assert not (tmp_path / "config.signature").exists()
    assert not signatures.is_own(config)


def test_runs_that_start_together_share_one_key(tmp_path, home):
    def sign(number):
        config = epath.Path(tmp_path) / str(number) / "config.json"
        config.parent.mkdir()
        config.write_text(f'{{"number": {number}}}')
        signatures.sign(config)
        return config

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        configs = list(pool.map(sign, range(16)))
    assert all(map(signatures.is_own, configs))
    assert [p.name for p in (home / "kauldron").iterdir()] == ["signing.key"]
