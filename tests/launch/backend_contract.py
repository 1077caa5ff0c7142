"""What every backend does: one suite, of which a backend is a member.

```python
class TestMine(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        return Mine
```

The tasks are config files that act while they are loaded, so that nothing is compiled.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import textwrap
import time

import pytest

from kauldron.launch._backend import Backend, Handle, State, Status, Task

ROOT = pathlib.Path(__file__).parents[2]
# Generous: machines of the tests are shared.
TIMEOUT_SECS = 200

_CONFIG = """
    import os, pathlib, sys, time

    FOLDER = pathlib.Path(__file__).parent

    def tell(name, text=""):
        new = FOLDER / f".{name}.{os.getpid()}"
        new.write_text(str(text))
        new.rename(FOLDER / name)

    def wait_for(name):
        while not (FOLDER / name).exists():
            time.sleep(0.02)

    def get_config():
"""


class BackendContract:
    """Tests that each backend passes; a member gives the fixture `make_backend`."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        """Returns a function without arguments that makes the backend."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, make_backend):
        backend = make_backend()
        yield backend
        backend.close()

    @pytest.fixture
    def make_task(self, tmp_path):
        """Returns a function that makes a task of the body of a `get_config()`."""

        def make_task(name: str, body: str, **kwargs) -> Task:
            file = tmp_path / f"{name}.py"
            file.write_text(
                textwrap.dedent(_CONFIG)
                + textwrap.indent(textwrap.dedent(body), "    ")
            )
            env = {
                "PYTHONPATH": str(ROOT),
                "JAX_PLATFORMS": "cpu",
                # Else each test would have processes of its own.
                "PYTEST_CURRENT_TEST": "",
            }
            return Task(
                name=name,
                args=(f"--cfg={file}", f"--cfg.workdir={tmp_path / name}"),
                workdir=str(tmp_path / name),
                log=str(tmp_path / "tasks" / f"{name}.log"),
                record=str(tmp_path / "tasks" / f"{name}.json"),
                env={**env, **kwargs.pop("env", {})},
                **kwargs,
            )

        return make_task

    def test_it_can_be_used_here(self, backend):
        backend.check()

    def test_the_exit_code_is_that_of_the_run_and_the_log_has_its_output(
        self, backend, make_task
    ):
        task = make_task(
            "a", "print('hello'); print('oh', file=sys.stderr); sys.exit(7)"
        )
        handle = backend.start(task)
        assert wait(backend, handle) == Status(State.DONE, 7)
        log = pathlib.Path(task.log).read_text()
        assert "hello" in log
        assert "oh" in log

    def test_a_mistake_of_the_user_gives_2(self, backend, make_task):
        status = wait(backend, backend.start(make_task("a", "raise ValueError('no')")))
        assert (status.state, status.exit_code) == (State.DONE, 2)

    def test_tasks_after_each_other_have_exit_codes_of_their_own(
        self, backend, make_task
    ):
        codes = [
            wait(backend, backend.start(make_task(f"t{i}", f"sys.exit({i})"))).exit_code
            for i in (4, 0, 5)
        ]
        assert codes == [4, 0, 5]

    def test_the_environment_of_a_task_reaches_it_and_no_other(
        self, backend, make_task, tmp_path
    ):
        body = "tell(f'{sys.argv[1][-4]}.env', os.environ.get('SWEPT')); sys.exit(0)"
        for name, env in (("a", {"SWEPT": "1"}), ("b", {})):
            wait(backend, backend.start(make_task(name, body, env=env)))
        assert (tmp_path / "a.env").read_text() == "1"
        assert (tmp_path / "b.env").read_text() == "None"

    def test_it_runs_until_it_is_over(self, backend, make_task, tmp_path):
        handle = backend.start(
            make_task("a", "tell('began'); wait_for('go'); sys.exit(0)")
        )
        wait_for_file(tmp_path / "began")
        assert backend.ask([handle]) == [Status(State.RUNNING)]
        (tmp_path / "go").touch()
        assert wait(backend, handle) == Status(State.DONE, 0)

    def test_tasks_run_at_the_same_time(self, backend, make_task):
        if backend.parallel == 1:
            pytest.skip("it runs one task at a time")
        handles = [
            backend.start(
                make_task(
                    me,
                    f"tell('{me}_is_there'); wait_for('{you}_is_there'); sys.exit(0)",
                )
            )
            for me, you in (("a", "b"), ("b", "a"))
        ]
        assert [wait(backend, h).exit_code for h in handles] == [0, 0]

    def test_another_process_finds_a_task_by_its_record(
        self, backend, make_backend, make_task, tmp_path
    ):
        task = make_task("a", "tell('began'); wait_for('go'); sys.exit(0)")
        assert backend.find(task) is None
        handle = backend.start(task)
        wait_for_file(tmp_path / "began")
        other = make_backend()
        found = other.find(task)
        assert json.loads(json.dumps(found)) == json.loads(json.dumps(handle))
        assert other.ask([found]) == [Status(State.RUNNING)]
        (tmp_path / "go").touch()
        assert wait(other, found) == Status(State.DONE, 0)
        other.close()

    def test_a_stopped_task_is_over_and_can_be_started_again(
        self, backend, make_task, tmp_path
    ):
        task = make_task("a", "tell('began'); wait_for('go'); sys.exit(0)")
        handle = backend.start(task)
        wait_for_file(tmp_path / "began")
        backend.stop([handle])
        status = wait(backend, handle)
        assert status.state in (State.STOPPED, State.DONE)
        assert status.exit_code != 0
        (tmp_path / "go").touch()
        again = backend.start(task)
        assert wait(backend, again) == Status(State.DONE, 0)
        assert backend.ask([again, handle])[0] == Status(State.DONE, 0)

    def test_stopping_what_is_over_changes_nothing(self, backend, make_task):
        handle = backend.start(make_task("a", "sys.exit(0)"))
        wait(backend, handle)
        backend.stop([handle])
        assert backend.ask([handle]) == [Status(State.DONE, 0)]

    def test_a_killed_process_takes_only_its_own_task_down(
        self, backend, make_task, tmp_path
    ):
        body = "tell('{0}.pid', os.getpid()); wait_for('go'); sys.exit(0)"
        handles = [
            backend.start(make_task(name, body.format(name))) for name in ("a", "b")
        ]
        wait_for_file(tmp_path / "a.pid")
        if backend.parallel != 1:
            wait_for_file(tmp_path / "b.pid")
        os.kill(int((tmp_path / "a.pid").read_text()), signal.SIGKILL)
        status = wait(backend, handles[0])
        # A queue that waits for its processes knows the signal.
        is_lost = status.state is State.LOST
        assert is_lost or status == Status(State.DONE, -9) or status.exit_code == 137
        (tmp_path / "go").touch()
        assert wait(backend, handles[1]) == Status(State.DONE, 0)
        third = backend.start(make_task("c", "sys.exit(0)"))
        assert wait(backend, third) == Status(State.DONE, 0)


def wait(backend: Backend, handle: Handle) -> Status:
    """Returns the status of a task when it is over."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while time.monotonic() < deadline:
        (status,) = backend.ask([handle])
        if status.is_over:
            return status
        time.sleep(0.02)
    raise AssertionError(f"the task is still {status} after {TIMEOUT_SECS} s")


def wait_for_file(path: pathlib.Path) -> None:
    """Waits until a task has written a file."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name!r} after {TIMEOUT_SECS} s"
        time.sleep(0.02)
