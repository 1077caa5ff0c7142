"""Processes that start together begin as copies of one that has imported the libraries."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from kauldron.launch.jobs import _local_processes
from tests.launch import backend_contract
from tests.launch.backend_contract import ROOT, State, Status, wait, wait_for_file

ME = "os.environ['KAULDRON_DISTRIBUTED'].split(',')[1]"
# While a config is loaded, a new program has not imported this yet.
TELL_IMPORTS = """
me = os.environ['KAULDRON_DISTRIBUTED'].split(',')[-2:][0]
tell('is_there' + me, 'kauldron.train.train_loop' in sys.modules)
sys.exit(0)
"""


class TestCopies:
    @pytest.fixture
    def backend(self):
        return _local_processes.LocalProcesses()

    make_task = backend_contract.BackendContract.make_task

    def test_imports_are_done_once_for_all(self, backend, make_task, tmp_path):
        wait(backend, backend.start(make_task("a", TELL_IMPORTS, num_processes=2)))
        assert [(tmp_path / f"is_there{i}").read_text() for i in (0, 1)] == ["True"] * 2

    @pytest.mark.parametrize(
        "change",
        [
            {"num_processes": 1},
            {"env": {"KAULDRON_SHARED_IMPORTS": "0"}},
            {"args": ("--jax_enable_x64=1",)},
        ],
        ids=str,
    )
    def test_they_are_new_programs_where_imports_cannot_be_shared(
        self, backend, make_task, tmp_path, change
    ):
        args = change.pop("args", ())
        task = make_task("a", TELL_IMPORTS, **{"num_processes": 2, **change})
        object.__setattr__(task, "args", (*task.args, *args))
        assert wait(backend, backend.start(task)) == Status(State.DONE, 0)
        told = {path.read_text() for path in tmp_path.glob("is_there*")}
        assert told == {"False"}

    def test_processes_with_gpus_of_their_own_are_new_programs(
        self, make_task, tmp_path
    ):
        backend = _local_processes.LocalProcesses(gpus=2)
        wait(backend, backend.start(make_task("a", TELL_IMPORTS, num_processes=2)))
        assert (tmp_path / "is_there0").read_text() == "False"

    def test_a_copy_is_as_a_new_program_is(self, backend, make_task, tmp_path):
        body = f"""
        import gc, json, random, signal
        import numpy as np
        facts = {{
            "program": [sys.argv[0], sys.modules["__main__"].__spec__.name],
            "session": os.getsid(0) == os.getpid(),
            "stdin": os.readlink("/proc/self/fd/0"),
            "files": [os.readlink(f"/proc/self/fd/{{i}}") for i in range(3, 64)
                      if os.path.islink(f"/proc/self/fd/{{i}}")],
            "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
            "sigint": signal.getsignal(signal.SIGINT) == signal.default_int_handler,
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "random": [random.random(), float(np.random.uniform())],
            "frozen": gc.get_freeze_count(),
        }}
        tell("facts" + {ME}, json.dumps(facts))
        sys.exit(0)
        """
        task = make_task("a", body, num_processes=2)
        assert wait(backend, backend.start(task)) == Status(State.DONE, 0)
        first, second = (
            json.loads((tmp_path / f"facts{i}").read_text()) for i in range(2)
        )
        assert first["program"] == [str(ROOT / "kauldron" / "main.py"), "kauldron.main"]
        assert first["session"]
        assert first["stdin"] == os.devnull
        assert not [file for file in first["files"] if file.startswith(str(tmp_path))]
        assert first["sigterm"]
        assert first["sigint"]
        assert first["blocked"] == 0
        assert first["frozen"] == 0
        assert first["random"][0] != second["random"][0]
        assert first["random"][1] != second["random"][1]

    def test_a_copy_ends_as_a_program_does(self, backend, make_task, tmp_path):
        body = f"""
        import atexit, threading
        atexit.register(lambda: tell("at_exit" + {ME}))
        def late():
            time.sleep(0.3)
            tell("thread" + {ME})
        threading.Thread(target=late).start()
        print("last words of " + {ME})  # waits in a buffer
        sys.exit(7 if {ME} == "1" else 0)
        """
        task = make_task("a", body, num_processes=2)
        assert wait(backend, backend.start(task)) == Status(State.DONE, 7)
        for name in ("at_exit0", "at_exit1", "thread0", "thread1"):
            assert (tmp_path / name).exists()
        assert "last words of 0" in pathlib.Path(task.log).read_text()
        assert "last words of 1" in pathlib.Path(f"{task.log}.1").read_text()

    def test_copies_end_and_leave_their_task_when_the_original_is_killed(
        self, backend, make_task, tmp_path
    ):
        body = f"tell('pid' + {ME}, os.getpid()); wait_for('go')"
        task = make_task("a", body, num_processes=2)
        handle = backend.start(task)
        for i in range(2):
            wait_for_file(tmp_path / f"pid{i}")
        group = json.loads(pathlib.Path(task.record).read_text())["pid"]
        os.kill(group, signal.SIGKILL)
        assert wait(backend, handle).state is State.LOST


_PREPARE = """
import sys, threading
from kauldron.launch.processes import _forked
assert _forked.prepare(()) is not None
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
assert threading.active_count() == 1
assert "kauldron.main" not in sys.modules
"""


def test_what_is_shared_has_neither_devices_nor_threads():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
