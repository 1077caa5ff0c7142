"""Jobs: what is started again, adopted, cancelled; what is on disk; what is refused.

The runs are config files that act while they are loaded, so that nothing is compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from kauldron import launch
from kauldron.launch import _backend
from kauldron.launch.jobs import _job_files, _job_index, _job_status

ROOT = pathlib.Path(__file__).parents[2]

_CONFIG = """
import os, pathlib, sys, time
FOLDER = pathlib.Path(__file__).parent

def starts():  # counts them, this one included
    path = FOLDER / 'starts'
    path.write_text(path.read_text() + 'x' if path.exists() else 'x')
    return len(path.read_text())

def wait_for(name):
    (FOLDER / 'waits').write_text(str(os.getpid()))
    while not (FOLDER / name).exists():
        time.sleep(0.02)

def get_config():
"""


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def make_job(tmp_path):
    """Returns a function that makes a job of the body of a `get_config()`."""

    def make_job(body: str, **kwargs) -> launch.Job:
        file = tmp_path / "config.py"
        file.write_text(_CONFIG + textwrap.indent(textwrap.dedent(body), "    "))
        return launch.Job(
            args=(f"--cfg={file}",),
            workdir=str(tmp_path / "run"),
            env={"PYTHONPATH": str(ROOT)},
            **kwargs,
        )

    return make_job


def test_a_preempted_run_is_started_again_until_it_is_done(make_job, tmp_path):
    job = make_job("print('here'); sys.exit(75 if starts() < 3 else 0)")
    lines: list[str] = []
    assert launch.run_job(job, show=lines.append) == 0
    assert (tmp_path / "starts").read_text() == "xxx"
    assert launch.status_of_job(job.workdir).num_restarts == 2
    told = [line for line in lines if "restart" in line]
    assert told == [
        "--- preempted: restart 1 of 20 ---",
        "--- preempted: restart 2 of 20 ---",
    ]
    assert lines.count("here") == 3


def test_a_run_that_a_scheduler_ends_before_it_can_save_is_started_again(make_job):
    job = make_job("os.kill(os.getpid(), 15) if starts() < 2 else sys.exit(0)")
    assert launch.run_job(job, show=_quiet) == 0


@pytest.mark.parametrize(
    "end", ["sys.exit(1)", "sys.exit(2)", "os.kill(os.getpid(), 9)"]
)
def test_a_failed_run_is_not_started_again(make_job, tmp_path, end):
    code = launch.run_job(make_job(f"starts(); {end}"), show=_quiet)
    assert code == (2 if "2" in end else 1)
    assert (tmp_path / "starts").read_text() == "x"
    assert launch.status_of_job(tmp_path / "run").state == "failed"


def test_restarts_have_a_limit(make_job, tmp_path):
    lines: list[str] = []
    job = make_job("starts(); sys.exit(75)", max_restarts=1)
    assert launch.run_job(job, show=lines.append) == 75
    assert (tmp_path / "starts").read_text() == "xx"
    assert "--- not started again: 1 restarts are the limit ---" in lines
    assert launch.status_of_job(job.workdir).state == "interrupted"


def test_the_end_of_the_log_of_the_process_that_failed_is_shown(make_job):
    body = """
    if ',1,' in os.environ['KAULDRON_DISTRIBUTED']:
        print('the disk is on fire')
        sys.exit(1)
    wait_for('never')
    """
    lines: list[str] = []
    job = make_job(body, num_processes=2)
    killer = threading.Thread(target=_kill_waiting, args=(job,))
    killer.start()
    assert launch.run_job(job, show=lines.append) == 1
    killer.join()
    assert "--- process 1 ended with exit code 1 ---" in lines
    assert "[1] the disk is on fire" in lines


def _kill_waiting(job: launch.Job) -> None:
    waits = pathlib.Path(job.workdir).parent / "waits"
    while not waits.exists() or not waits.read_text():
        time.sleep(0.02)
    log = job.folder.log(0)
    while not log.exists() or "process 1 ended" not in log.read_text():
        time.sleep(0.02)
    os.kill(int(waits.read_text()), signal.SIGKILL)


def test_a_launcher_that_is_killed_leaves_the_run_and_the_next_one_adopts_it(
    make_job, tmp_path
):
    job = make_job("starts(); print('here'); wait_for('go'); sys.exit(0)")
    first = _launch_in_other_process(job)
    _wait_for(tmp_path / "waits")
    first.kill()
    first.wait()
    assert launch.status_of_job(job.workdir).state == "running"
    (tmp_path / "go").touch()
    assert launch.run_job(job, show=_quiet) == 0
    assert (tmp_path / "starts").read_text() == "x"


def test_a_second_launcher_follows_the_run_and_gets_its_exit_code(make_job, tmp_path):
    job = make_job("starts(); wait_for('go'); sys.exit(3)")
    first = _launch_in_other_process(job)
    _wait_for(tmp_path / "waits")
    lines: list[str] = []
    later = threading.Timer(
        2.5, (tmp_path / "go").touch
    )  # after it has given up to keep
    later.start()
    assert launch.run_job(job, show=lines.append) == 3
    assert first.wait() == 3
    assert (tmp_path / "starts").read_text() == "x"
    assert "the job runs already" in lines[0]


def test_a_run_with_other_arguments_is_not_adopted(make_job, tmp_path):
    job = make_job("wait_for('go'); sys.exit(0)")
    job.folder.write(job.to_record())
    handle = job.backend.start(job.task)
    _wait_for(tmp_path / "waits")
    other = launch.Job(args=("--cfg=b.py",), workdir=job.workdir, env=job.env)
    with pytest.raises(
        _backend.LaunchError, match=r"with other arguments: .* there, --cfg=b\.py here"
    ):
        launch.run_job(other, show=_quiet)
    with (
        contextlib.chdir(tmp_path),
        pytest.raises(_backend.LaunchError, match="with other current folder"),
    ):
        launch.run_job(job, show=_quiet)
    (tmp_path / "go").touch()
    while not job.backend.ask([handle])[0].is_over:
        time.sleep(0.02)


def test_sigterm_to_the_launcher_lets_the_run_save_and_end(make_job, tmp_path):
    body = """
    import signal
    signal.signal(signal.SIGTERM, lambda *unused: (starts(), sys.exit(75)))
    wait_for('never')
    """
    launcher = _launch_in_other_process(make_job(body))
    _wait_for(tmp_path / "waits")
    launcher.terminate()
    assert launcher.wait() == 75
    assert (tmp_path / "starts").read_text() == "x"


def test_a_cancelled_run_saves_ends_and_is_not_started_again(make_job, tmp_path):
    body = """
    import signal
    signal.signal(signal.SIGTERM, lambda *unused: (starts(), sys.exit(75)))
    wait_for('never')
    """
    job = make_job(body)
    assert launch.start_job(job).state in ("queued", "running")
    _wait_for(tmp_path / "waits")
    assert launch.cancel_job(job.workdir).state == "running"
    while not launch.status_of_job(job.workdir).is_over:
        time.sleep(0.02)
    assert launch.status_of_job(job.workdir).state == "cancelled"
    assert (tmp_path / "starts").read_text() == "x"


def test_what_was_left_to_itself_is_started_again_when_preempted(make_job, tmp_path):
    job = make_job("sys.exit(75 if starts() < 2 else 0)")
    launch.start_job(job)
    deadline = time.monotonic() + 60
    while launch.status_of_job(job.workdir).state != "done":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "starts").read_text() == "xx"


def test_jobs_are_listed_until_their_workdir_is_gone(make_job, tmp_path):
    assert launch.list_jobs() == []
    job = make_job("sys.exit(0)")
    launch.run_job(job, show=_quiet)
    (status,) = launch.list_jobs()
    assert (status.workdir, status.on, status.state) == (job.workdir, "local", "done")
    pathlib.Path(job.workdir).rename(tmp_path / "elsewhere")
    assert launch.list_jobs() == []
    assert list(_job_index.folder().iterdir()) == []


def test_the_newest_job_is_listed_first(tmp_path, make_job):
    del make_job  # sets the folder of the index
    for name, created in (("a", 2.0), ("b", 3.0), ("c", 1.0)):
        job = launch.Job(args=(), workdir=str(tmp_path / name))
        job.folder.write(dataclasses.replace(job.to_record(), created=created))
        _job_index.add(job.workdir)
    names = [pathlib.Path(job.workdir).name for job in launch.list_jobs()]
    assert names == ["b", "a", "c"]


def test_jobs_that_wait_or_run_are_listed_before_those_that_are_over(
    tmp_path, monkeypatch, make_job
):
    del make_job  # sets the folder of the index
    states = {"a": "running", "b": "done", "c": "queued", "d": "failed"}
    for created, name in enumerate(states):
        job = launch.Job(args=(), workdir=str(tmp_path / name))
        job.folder.write(dataclasses.replace(job.to_record(), created=float(created)))
        _job_index.add(job.workdir)
    look = _job_status.status_of_job

    def status_of_job(workdir):
        state = states[pathlib.Path(workdir).name]
        return dataclasses.replace(look(workdir), state=state)

    monkeypatch.setattr(_job_status, "status_of_job", status_of_job)
    names = [pathlib.Path(job.workdir).name for job in launch.list_jobs()]
    assert names == ["c", "a", "d", "b"]


def test_a_workdir_without_a_job_is_told_with_those_that_have_one(make_job, tmp_path):
    job = make_job("sys.exit(0)")
    job.folder.write(job.to_record())
    _job_index.add(job.workdir)
    with pytest.raises(_backend.LaunchError, match=re.escape(job.workdir)):
        launch.status_of_job(tmp_path / "other")


def test_a_record_is_what_was_written(make_job):
    job = make_job("", num_processes=2, gpus=4, max_restarts=5)
    record = job.to_record()
    job.folder.write(record)
    assert _job_files.JobFolder.of(job.workdir).read() == record
    assert launch.Job.from_record(job.workdir, record) == job


def test_logs_of_several_processes_say_whose_line_it_is(make_job):
    body = "print('one', os.environ['KAULDRON_DISTRIBUTED'].split(',')[1]); sys.exit(0)"
    job = make_job(body, num_processes=2)
    launch.run_job(job, show=_quiet)
    lines = [line for line in launch.job_logs(job.workdir) if "---" not in line]
    assert lines == ["[0] one 0", "[1] one 1"]
    own = [x for x in launch.job_logs(job.workdir, process=1) if "---" not in x]
    assert own == ["one 1"]
    with pytest.raises(
        _backend.LaunchError, match="has 2 processes, 0 to 1; there is no 2"
    ):
        list(launch.job_logs(job.workdir, process=2))


def test_logs_are_followed_until_the_run_ends(make_job, tmp_path):
    job = make_job("print('a', flush=True); wait_for('go'); print('b'); sys.exit(0)")
    job.folder.write(job.to_record())
    job.backend.start(job.task)
    lines = launch.job_logs(job.workdir, follow=True)
    assert "start 0, process 0 of 1" in next(lines)
    assert next(lines) == "a"
    (tmp_path / "go").touch()
    assert list(lines) == ["b"]


@pytest.mark.parametrize("name", ["num_processes", "gpus", "max_restarts"])
def test_numbers_that_make_no_sense_are_told(make_job, name):
    with pytest.raises(_backend.LaunchError, match=f"`{name}` of a job is at least"):
        make_job("", **{name: -1})


def test_an_object_store_is_no_workdir_of_a_job():
    with pytest.raises(_backend.LaunchError, match="'gs://a/b' is in an object store"):
        launch.Job(args=(), workdir="gs://a/b")


@pytest.mark.slow
def test_launchers_killed_at_any_instant_never_run_the_job_twice(make_job, tmp_path):
    body = """
    import fcntl
    with open(FOLDER / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (FOLDER / 'twice').touch()
        starts()
        wait_for('go')
    sys.exit(0)
    """
    job = make_job(body)
    rng = random.Random(0)
    for _ in range(20):
        launcher = _launch_in_other_process(job)
        time.sleep(rng.uniform(0.1, 1.2))
        launcher.kill()
        launcher.wait()
    (tmp_path / "go").touch()
    assert launch.run_job(job, show=_quiet) == 0
    assert not (tmp_path / "twice").exists()
    assert launch.status_of_job(job.workdir).state == "done"


def _quiet(line: str) -> None:
    del line


def _launch_in_other_process(job: launch.Job) -> subprocess.Popen[bytes]:
    program = "import sys; from kauldron import launch; sys.exit(launch.run_job({}))"
    code = program.format(f"launch.{job!r}")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.DEVNULL
    )


def _wait_for(path: pathlib.Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)
