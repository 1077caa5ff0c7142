"""What other programs can read about a training, without JAX."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest
from etils import epath

from kauldron._base import shared_files
from kauldron.workdir import run_status


def _report(tmp_path, **changes):
    kwargs = {"step": 0, "last_step": 9, "is_new": True, "writes": True, **changes}
    return run_status.report(epath.Path(tmp_path), **kwargs)


def test_the_status_tells_that_a_run_goes_on_and_that_it_is_done(tmp_path):
    with _report(tmp_path) as report:
        during = run_status.read(tmp_path)
        report.step = 9
    after = run_status.read(tmp_path)
    assert (during.state, during.step, during.last_step) == ("running", 0, 9)
    assert during.is_alive
    assert during.pid == os.getpid()
    assert (after.state, after.step) == ("done", 9)
    assert after.run_id == during.run_id


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (KeyboardInterrupt("by SIGTERM"), "interrupted", "interrupted at step 3 of 9"),
        (ValueError("bad batch"), "failed", r"failed at step 3 of 9 \(ValueError: bad"),
    ],
)
def test_the_status_tells_how_a_run_broke_off(tmp_path, error, state, text):
    with pytest.raises(type(error)), _report(tmp_path) as report:
        report.step = 3
        raise error
    status = run_status.read(tmp_path)
    assert status.state == state
    import re

    assert re.search(text, status.describe())
    assert not (tmp_path / "train_complete.txt").exists()


def test_a_full_disk_does_not_hide_how_a_run_ended(tmp_path, monkeypatch, capfd):

    def fail(path, text):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match="the cause"), _report(tmp_path):
        monkeypatch.setattr(shared_files, "write_atomically", fail)
        raise ValueError("the cause")
    assert "status.json' could not be written" in capfd.readouterr().err


def test_a_run_that_continues_keeps_its_name_and_a_new_one_gets_another(tmp_path):
    names = []
    for is_new in (True, False, True):
        with _report(tmp_path, is_new=is_new):
            names.append(run_status.read(tmp_path).run_id)
    assert names[0] == names[1] != names[2]


def test_the_published_mark_exists_after_the_end_only(tmp_path):
    mark = tmp_path / "train_complete.txt"
    with _report(tmp_path):
        assert not mark.exists()
    assert mark.exists()
    with _report(tmp_path, is_new=False, step=9, last_step=20):
        assert not mark.exists()


def test_the_heartbeat_goes_on_while_a_step_takes_long(tmp_path, monkeypatch):
    monkeypatch.setattr(run_status, "HEARTBEAT_SECS", 0.02)
    with _report(tmp_path):
        first = run_status.read(tmp_path).heartbeat
        deadline = time.monotonic() + 10
        while run_status.read(tmp_path).heartbeat == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _status(**changes):
    kwargs = {"state": "running", "run_id": "a", "first_step": 0, "step": 3}
    kwargs |= {"last_step": 9, "pid": os.getpid(), "host": "elsewhere"}
    kwargs |= {"started": 0.0, "heartbeat": time.time()}
    return run_status.RunStatus(**{**kwargs, **changes})


def test_a_run_without_a_sign_of_life_is_dead():
    assert _status().is_alive
    silent = _status(heartbeat=time.time() - 100)
    assert not silent.is_alive
    assert "has died at about step 3 of 9 (no sign of life for 100 s)" in (
        silent.describe()
    )
    assert not _status(state="done").is_alive


def test_a_killed_process_of_this_machine_is_found_dead_sooner():
    import socket

    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = {"host": socket.gethostname(), "heartbeat": time.time() - 20}
    assert not _status(pid=process.pid, **here).is_alive
    assert _status(pid=os.getpid(), **here).is_alive


def test_a_process_that_writes_nothing_leaves_the_status_alone(tmp_path):
    with _report(tmp_path, writes=False) as report:
        report.step = 4
    assert run_status.read(tmp_path) is None


def test_a_damaged_status_is_named(tmp_path):
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(ValueError, match=r"status\.json' is no status of a run"):
        run_status.read(tmp_path)
    with _report(tmp_path, is_new=False):  # and replaced by the next start
        assert run_status.read(tmp_path).state == "running"


def test_fields_of_later_versions_are_left_out(tmp_path):
    fields = {**dataclasses.asdict(_status()), "colour": "blue"}
    (tmp_path / "status.json").write_text(json.dumps(fields))
    assert run_status.read(tmp_path).step == 3


def test_reading_a_status_needs_no_jax(tmp_path):
    with _report(tmp_path):
        pass
    program = (
        "import sys\nfrom kauldron.train import run_status\n"
        f"print(run_status.read({str(tmp_path)!r}).state, 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["done", "False"]
