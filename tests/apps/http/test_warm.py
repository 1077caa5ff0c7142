"""Answers of warm apps: through memory where that has room, else over the disk."""

from __future__ import annotations

import contextlib
import io
import pathlib
import subprocess
import time
import zipfile

import httpx
import pytest

from kauldron.apps.jobs import _folders
from tests.apps.http import conftest
from tests.apps.jobs import plain_server

_WAIT = {"Prefer": "wait=30"}
_NO_MEMORY = pathlib.Path("/nowhere")

pytestmark = pytest.mark.skipif(
    not _folders._MEMORY.is_dir(), reason="there is no file system in memory"
)


@contextlib.contextmanager
def _warm_server(state, app_path):
    with (
        plain_server.in_thread(state, [app_path], warm=["tissues"]) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        _until(lambda: http.get("/repo_apps/tissues").json()["is_warm"])
        yield conftest.Asking(http)


def _until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _names(answer):
    with zipfile.ZipFile(io.BytesIO(answer.content)) as z:
        return z.namelist()


@pytest.fixture
def disk_writes(monkeypatch):
    """Names of what is made in folders of uploads on the disk."""
    found = []
    mkdir = pathlib.Path.mkdir

    def noted(path, *args, **kwargs):
        if "uploads" in path.parts:
            found.append(path.name)
        return mkdir(path, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "mkdir", noted)
    return found


def test_a_small_call_of_a_warm_app_touches_no_disk(tmp_path, app_path, disk_writes):
    state = tmp_path / "state"
    with _warm_server(state, app_path) as ask:
        disk_writes.clear()
        answer = ask(headers=_WAIT)
        assert answer.status_code == 200, answer.text
        assert disk_writes == []
        large = ("inputs.t1", ("a.nii", bytes(2 << 20)))
        assert ask(files=[large], headers=_WAIT).status_code == 200
        assert "inputs" in disk_writes
        _until(lambda: conftest.left_in(state) == [])
        memory = (state / "memory").resolve()
        assert memory.parent == _folders._MEMORY and not any(memory.iterdir())
    assert not memory.exists() and not (state / "memory").is_symlink()


def test_the_answer_is_the_same_with_memory_and_without(
    tmp_path, app_path, monkeypatch
):
    with _warm_server(tmp_path / "a", app_path) as ask:
        quick = ask(headers=_WAIT, print=["x"])
        mistake = ask(headers=_WAIT, traceback=True)
    monkeypatch.setattr(_folders, "_MEMORY", _NO_MEMORY)
    with _warm_server(tmp_path / "b", app_path) as ask:
        assert not (tmp_path / "b" / "memory").exists()
        assert ask(headers=_WAIT, print=["x"]).content == quick.content
        assert ask(headers=_WAIT, traceback=True).json() == mistake.json()
    assert mistake.status_code == 422 and str(tmp_path) not in mistake.text


def test_a_call_for_another_device_becomes_a_job_on_the_disk(tmp_path, app_path):
    """That it is no call of the warm app is known when its form has been read."""
    state = tmp_path / "state"
    with _warm_server(state, app_path) as ask:
        answer = ask(headers=_WAIT, data={"cpu": "1"})
        assert answer.status_code == 200, answer.text
        (folder,) = (state / "jobs").iterdir()
        assert (folder / "inputs/inputs.t1/0/scan.nii.gz").read_bytes() == b"{}"
        assert not any((state / "memory").iterdir())


@pytest.fixture
def small_memory(tmp_path, monkeypatch):
    """A file system in memory of 4 MiB, in the place of that of the machine."""
    folder = tmp_path / "memory"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system takes root")
    monkeypatch.setattr(_folders, "_MEMORY", folder)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("left", [0, 2**25])
def test_what_has_no_room_in_memory_is_done_on_the_disk(
    tmp_path, app_path, small_memory, monkeypatch, left
):
    """It is found out by the worker, or known before."""
    monkeypatch.setattr(_folders, "_MEMORY_LEFT_BYTES", left)
    state = tmp_path / "state"
    with _warm_server(state, app_path) as ask:
        answer = ask(headers=_WAIT, fill=8 << 20)
        assert answer.status_code == 200, answer.text
        assert _names(answer) == ["copy.npy", "large.npy", "result.json"]
        _until(lambda: conftest.left_in(state) == [])
        assert [x for x in small_memory.rglob("*") if x.is_file()] == []


def test_a_disk_that_is_full_is_told_as_such(
    tmp_path, app_path, small_memory, monkeypatch
):
    state = small_memory / "state"  # and there is no memory
    monkeypatch.setattr(_folders, "_MEMORY", _NO_MEMORY)
    with _warm_server(state, app_path) as ask:
        answer = ask(headers=_WAIT, fill=8 << 20)
        assert answer.status_code == 507 and "disk" in answer.text
        assert conftest.left_in(state) == []
        assert ask(headers=_WAIT).status_code == 200


def test_a_server_removes_what_killed_ones_have_left_in_memory(tmp_path):
    """Whatever their state directories were; what has an owner that lives stays."""
    left = _folders._MEMORY / "kauldron_apps_of_a_test"
    (left / "upload").mkdir(parents=True)
    one, other = (_folders.StateDir(tmp_path / name) for name in "ab")
    with one.owned():
        assert not left.exists()
        memory = (one.path / "memory").resolve()
        (memory / "upload").mkdir()
        with other.owned():
            assert (memory / "upload").exists()
            assert (other.path / "memory").resolve() != memory
    assert not memory.exists()


def test_a_link_that_a_killed_server_has_left_is_not_followed(tmp_path):
    """Nor is one in the place of a folder in memory."""
    others = tmp_path / "others"
    others.mkdir()
    trap = _folders._MEMORY / "kauldron_apps_trap_of_a_test"
    trap.symlink_to(others)
    state = _folders.StateDir(tmp_path / "state")
    state.path.mkdir()
    (state.path / "memory").symlink_to(others)
    try:
        with state.owned():
            assert others.exists()
            assert (state.path / "memory").resolve().parent == _folders._MEMORY
    finally:
        trap.unlink()
