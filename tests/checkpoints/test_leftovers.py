"""What killed processes and failed saves leave behind is deleted, when it can be."""

from __future__ import annotations

import os
import shutil
import threading
import time

import pytest
from etils import epath

from kauldron.checkpoints import _layout


def _leftover(directory, step: int):
    folder = directory / f"ckpt_{step}.orbax-checkpoint-tmp-{step}"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "part").write_bytes(b"x")
    return folder


def test_leftovers_are_deleted_and_steps_stay(tmp_path):
    _leftover(tmp_path, 1)
    (tmp_path / "ckpt_2.deleting").mkdir()
    (tmp_path / "ckpt_3").mkdir()
    (tmp_path / "notes").mkdir()
    _layout.remove_leftovers(epath.Path(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["ckpt_3", "notes"]


def test_folder_that_is_still_written_to_waits_for_the_next_call(tmp_path):
    written_to, other = _leftover(tmp_path, 1), _leftover(tmp_path, 2)
    stop, made = threading.Event(), threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number = (number + 1) % 8
            (written_to / f"late_{number}").mkdir(parents=True, exist_ok=True)
            made.set()
            time.sleep(1e-4)

    writer = threading.Thread(target=write)
    writer.start()
    made.wait()
    try:
        for _ in range(20):
            _layout.remove_leftovers(epath.Path(tmp_path))
    finally:
        stop.set()
        writer.join()
    assert not other.exists()
    _layout.remove_leftovers(epath.Path(tmp_path))
    assert not written_to.exists()


def test_folder_that_may_not_be_deleted_is_an_error(tmp_path, monkeypatch):
    _leftover(tmp_path, 1)

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        _layout.remove_leftovers(epath.Path(tmp_path))
