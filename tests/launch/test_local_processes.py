"""`LocalProcesses`: one run as several processes of this machine."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time

import pytest

from kauldron.launch import _backend
from kauldron.launch.jobs import _local_processes
from kauldron.launch.processes import process_group
from tests.launch import backend_contract
from tests.launch.backend_contract import State, Status, wait, wait_for_file

ME = "os.environ['KAULDRON_DISTRIBUTED'].split(',')[1]"


@pytest.mark.slow
class TestLocalProcesses(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        return _local_processes.LocalProcesses


class TestProcesses:
    make_task = backend_contract.BackendContract.make_task

    @pytest.fixture
    def backend(self):
        return _local_processes.LocalProcesses()

    def test_each_process_is_told_where_the_others_are(
        self, backend, make_task, tmp_path
    ):
        body = f"tell('place' + {ME}, os.environ['KAULDRON_DISTRIBUTED']); sys.exit(0)"
        task = make_task("a", body, num_processes=2)
        assert wait(backend, backend.start(task)) == Status(State.DONE, 0)
        places = [(tmp_path / f"place{i}").read_text().split(",") for i in (0, 1)]
        assert [place[1:] for place in places] == [["0", "2"], ["1", "2"]]
        assert places[0][0] == places[1][0]
        assert places[0][0].startswith("127.0.0.1:")

    def test_a_single_process_is_alone(self, backend, make_task, tmp_path):
        body = "tell('place', os.environ['KAULDRON_DISTRIBUTED']); sys.exit(0)"
        wait(backend, backend.start(make_task("a", body)))
        assert (tmp_path / "place").read_text() == "off"

    def test_the_first_that_fails_gives_the_exit_code_and_its_name_stands_in_the_log(
        self, backend, make_task, tmp_path
    ):
        body = f"""
        if {ME} == '1':
            sys.exit(7)
        wait_for('go')
        sys.exit(1)
        """
        task = make_task("a", body, num_processes=2)
        handle = backend.start(task)
        log = pathlib.Path(task.log)
        while "process 1 ended with exit code 7" not in _text(log):
            time.sleep(0.05)
        (tmp_path / "go").touch()
        assert wait(backend, handle) == Status(State.DONE, 7)

    def test_a_signal_reaches_each_process_once(self, backend, make_task, tmp_path):
        body = f"""
        import signal
        def count(*unused):
            global num
            num = globals().get('num', 0) + 1
        signal.signal(signal.SIGTERM, count)
        tell('ready' + {ME})
        while not globals().get('num'):
            time.sleep(0.01)
        time.sleep(0.5)
        tell('num' + {ME}, globals()['num'])
        sys.exit(75)
        """
        handle = backend.start(make_task("a", body, num_processes=2))
        for name in ("ready0", "ready1"):
            wait_for_file(tmp_path / name)
        backend.stop([handle])
        backend.stop([handle])
        assert wait(backend, handle) == Status(State.DONE, 75)
        assert [(tmp_path / f"num{i}").read_text() for i in (0, 1)] == ["1", "1"]

    def test_processes_end_when_what_started_them_is_killed(
        self, backend, make_task, tmp_path
    ):
        task = make_task("a", "tell('pid', os.getpid()); wait_for('go')")
        handle = backend.start(task)
        wait_for_file(tmp_path / "pid")
        group = json.loads(pathlib.Path(task.record).read_text())["pid"]
        os.kill(group, signal.SIGKILL)
        assert wait(backend, handle).state is State.LOST
        pid = int((tmp_path / "pid").read_text())
        while _exists(pid):
            time.sleep(0.05)

    def test_gpus_are_divided_among_the_processes(self, make_task, tmp_path):
        body = f"tell('gpus' + {ME}, os.environ['CUDA_VISIBLE_DEVICES']); sys.exit(0)"
        backend = _local_processes.LocalProcesses(gpus=4)
        task = make_task("a", body, num_processes=2, env={"CUDA_VISIBLE_DEVICES": ""})
        wait(backend, backend.start(task))
        assert [(tmp_path / f"gpus{i}").read_text() for i in (0, 1)] == ["0,1", "2,3"]
        with pytest.raises(
            _backend.LaunchError, match="4 GPUs cannot be divided among 3"
        ):
            backend.start(make_task("b", "", num_processes=3))


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (3, 3), (75, 75), (-signal.SIGTERM, 75), (-signal.SIGKILL, 137)],
)
def test_ended_by_a_signal_of_a_scheduler_is_interrupted_other_signals_fail(
    code, expected
):
    assert process_group.exit_code_of_run(code) == expected


def _text(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
