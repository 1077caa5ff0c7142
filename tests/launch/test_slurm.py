"""`Slurm`: on a cluster of two nodes that the tests start, and without any.

The cluster is `slurm_cluster.py`. Without Slurm, submitit's executor for this machine runs
the same jobs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import tempfile
import time

import pytest

from kauldron import launch
from kauldron.launch import _backend
from kauldron.launch.processes import _process_files
from kauldron.launch.slurm import _in_job, _queue, _slurm
from kauldron.workdir import json_lines
from tests.launch import backend_contract, fake_runs, slurm_cluster
from tests.launch.backend_contract import State, Status, wait, wait_for_file

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def cluster():
    """A cluster, which Slurm's commands find."""
    if missing := slurm_cluster.missing_programs():
        pytest.skip(f"no {missing[0]}: apt-get install slurm-wlm")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with (
            slurm_cluster.running(folder) as variables,
            pytest.MonkeyPatch.context() as m,
        ):
            for name, value in variables.items():
                m.setenv(name, value)
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
class TestSubmititOnThisMachine(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        return lambda: _slurm.Slurm(executor="local", time=10)


@pytest.mark.slow
class TestSlurm(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, cluster):
        return lambda: _slurm.Slurm(time=10)

    def test_a_job_over_two_nodes_has_processes_on_both(
        self, make_task, cluster, tmp_path
    ):
        body = """
        address, index, count = os.environ['KAULDRON_DISTRIBUTED'].split(',')
        tell('place' + index, f"{os.environ['SLURMD_NODENAME']} {address} {count}")
        sys.exit(0)
        """
        backend = _slurm.Slurm(nodes=2, time=10)
        task = make_task("a", body, num_processes=4)
        assert wait(backend, backend.start(task)) == Status(State.DONE, 0)
        places = [(tmp_path / f"place{i}").read_text().split() for i in range(4)]
        assert [place[0] for place in places] == ["node1", "node1", "node2", "node2"]
        assert {place[2] for place in places} == {"4"}
        (address,) = {place[1] for place in places}
        assert address.startswith("127.0.0.1:")

    @pytest.mark.parametrize("signame", ["TERM", "USR2"])
    def test_slurms_signal_lets_the_run_save_and_the_job_requeues_itself(
        self, make_task, cluster, tmp_path, signame
    ):
        task = make_task("a", _SAVES_WHEN_TOLD, num_processes=2)
        backend = _slurm.Slurm(nodes=2, time=10)
        handle = backend.start(task)
        for index in (0, 1):
            wait_for_file(tmp_path / f"start{index}")
        _queue.call("scancel", f"--signal={signame}", handle["job_id"])
        assert wait(backend, handle) == Status(State.DONE, 0)
        assert (tmp_path / "start0").read_text() == "2"
        assert _queue.jobs()[handle["job_id"]].state == "COMPLETED"

    def test_a_preempted_job_is_requeued_and_continues(
        self, make_task, cluster, tmp_path
    ):
        task = make_task("a", _SAVES_WHEN_TOLD, num_processes=2)
        backend = _slurm.Slurm(nodes=2, time=10, partition="main")
        handle = backend.start(task)
        for index in (0, 1):
            wait_for_file(tmp_path / f"start{index}")
        urgent = (
            "--partition=urgent",
            "--nodes=2",
            "--exclusive",
            "--output=/dev/null",
        )
        _queue.call("sbatch", *urgent, "--wrap=sleep 1")
        assert wait(backend, handle) == Status(State.DONE, 0)
        assert (tmp_path / "start0").read_text() == "2"

    def test_restarts_have_a_limit(self, make_task, cluster, tmp_path):
        backend = _slurm.Slurm(time=10, max_restarts=1)
        task = make_task("a", _COUNTS + "    sys.exit(75)\n")
        assert wait(backend, backend.start(task)) == Status(State.DONE, 75)
        assert (tmp_path / "start0").read_text() == "2"
        log = pathlib.Path(task.log).read_text()
        assert "not started again: 1 restarts are the limit" in log

    def test_what_waits_is_taken_out_of_the_queue(self, make_task, cluster):
        backend = _slurm.Slurm(time=10, options={"begin": "now+1hour"})
        handle = backend.start(make_task("a", "sys.exit(0)"))
        assert backend.ask([handle])[0].state is State.PENDING
        backend.stop([handle])
        assert wait(backend, handle).state is State.STOPPED

    def test_a_job_is_found_if_its_submitter_was_killed_before_it_knew_the_number(
        self, make_task, cluster, tmp_path
    ):
        backend = _slurm.Slurm(time=10)
        task = make_task("a", "wait_for('go'); sys.exit(0)")
        handle = dict(backend.start(task))
        record = pathlib.Path(task.record)
        submitted = json.loads(record.read_text())
        job_id = submitted.pop("job_id")
        record.write_text(json.dumps(submitted))
        assert _slurm.Slurm().find(task) == {**submitted, "job_id": job_id}
        (tmp_path / "go").touch()
        assert wait(backend, handle) == Status(State.DONE, 0)

    def test_an_unknown_partition_is_told_before_anything_is_submitted(self, cluster):
        with pytest.raises(
            _backend.LaunchError,
            match=r"no partition 'mian'; it has 'main', 'urgent'\. Did you mean 'main'",
        ):
            _slurm.Slurm(partition="mian").check()

    def test_more_nodes_than_there_are_are_told(self, cluster):
        with pytest.raises(_backend.LaunchError, match="'main' has 2 nodes; 3 are"):
            _slurm.Slurm(nodes=3).check()

    def test_what_slurm_refuses_is_told_in_its_words(self, cluster, make_task):
        backend = _slurm.Slurm(constraint="no-such-feature")
        with pytest.raises(_backend.LaunchError, match="Invalid feature"):
            backend.start(make_task("a", ""))


# The body of a config: counts the starts of each process in `start<index>`.
_COUNTS = """
    place = os.environ['KAULDRON_DISTRIBUTED']
    index = place.split(',')[1] if ',' in place else '0'
    path = FOLDER / f'start{index}'
    start = int(path.read_text()) + 1 if path.exists() else 1
    tell(f'start{index}', start)
"""
# The second start ends.
_SAVES_WHEN_TOLD = (
    _COUNTS
    + """
    import signal
    asked = []
    for signum in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(signum, lambda *unused: asked.append(1))
    while start == 1 and not asked:
        time.sleep(0.02)
    sys.exit(75 if asked else 0)
"""
)


class TestTasksOfSubmitit:
    """Submitit's executor for this machine, briefly."""

    make_task = backend_contract.BackendContract.make_task

    def test_an_interrupted_task_is_continued_and_a_failed_one_is_not(
        self, make_task, tmp_path
    ):
        backend = _slurm.Slurm(executor="local", time=10)
        task = make_task("a", _COUNTS + "    sys.exit(75 if start < 2 else 7)\n")
        handle = backend.start(task)
        assert backend.ask([handle]) == [Status(State.RUNNING)]
        assert wait(backend, handle) == Status(State.DONE, 7)
        assert backend.find(task) == handle
        assert (tmp_path / "start0").read_text() == "2"
        log = pathlib.Path(task.log).read_text()
        assert "the job goes back into the queue, and will continue" in log
        assert "start 1, process 0 of 1" in log


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        (90, 90),
        ("90", 90),
        ("90:00", 90),
        ("1:30:00", 90),
        ("0:00:30", 1),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("2-00:00:01", 2881),
    ],
)
def test_times_are_read_as_slurm_reads_them(time, minutes):
    assert _slurm.Slurm(time=time, signal_secs=5).minutes == minutes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time": "soon"}, "`time` is in minutes, or as '2:30:00'.*got 'soon'"),
        ({"nodes": 0}, "nodes=...+ is at least 1, got 0"),
        ({"time": 2, "signal_secs": 120}, "cannot be asked to save 120 s before"),
        ({"executor": "local", "nodes": 2}, "This machine is one node; 2 are asked"),
    ],
)
def test_what_makes_no_sense_is_told(fields, message):
    with pytest.raises(_backend.LaunchError, match=message):
        _slurm.Slurm(**fields).check()


@pytest.mark.parametrize(
    ("fields", "num_processes", "message"),
    [
        ({"nodes": 2}, 3, "3 processes cannot be divided among 2 nodes"),
        ({"gpus_per_node": 4}, 3, "4 GPUs cannot be divided among 3 processes"),
    ],
)
def test_processes_are_divided_evenly(fields, num_processes, message, tmp_path):
    task = _backend.Task(
        name="a",
        args=(),
        workdir=str(tmp_path),
        log=str(tmp_path / "log"),
        record=str(tmp_path / "a.json"),
        num_processes=num_processes,
    )
    with pytest.raises(_backend.LaunchError, match=message):
        _slurm.Slurm(**fields).start(task)
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_nothing_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    job = launch.Job(args=(), workdir=str(tmp_path / "run"), slurm=_slurm.Slurm())
    with pytest.raises(
        _backend.LaunchError, match="no Slurm on this machine: `sbatch` is not found"
    ):
        launch.start_job(job)
    assert job.folder.read() is None


def test_the_first_node_to_fail_gives_the_exit_code(tmp_path):
    for node, code, ended in ((0, 1, 5.0), (1, 7, 4.0), (2, 0, 3.0)):
        _write_end(tmp_path, node=node, start=1, exit_code=code, ended=ended)
    _write_end(tmp_path, node=3, start=0, exit_code=9, ended=1.0)  # of an earlier start
    handle = {"state": str(tmp_path), "job_id": "1", "executor": "slurm"}
    assert _slurm._status(handle, None) == Status(State.DONE, 7)


def test_a_job_that_is_gone_without_a_word_is_lost_or_was_cancelled(tmp_path):
    handle = {"state": str(tmp_path), "job_id": "1", "executor": "slurm"}
    gone = _queue.QueuedJob("NODE_FAIL", "None", "")
    status = _slurm._status(handle, gone)
    assert status.state is State.LOST
    assert status.reason == f"NODE_FAIL, no exit code; see {tmp_path}/submitit"
    gone = _queue.QueuedJob("CANCELLED", "None", "")
    assert _slurm._status(handle, gone).state is State.STOPPED
    assert _slurm._status(handle, None).state is State.LOST


def _write_end(folder: pathlib.Path, **fields) -> None:
    end = _in_job.NodeEnd(**fields)
    path = folder / f"node_{end.node}.json"
    _process_files.write(path, dataclasses.asdict(end))


@pytest.mark.slow
def test_a_sweep_gives_its_trials_to_the_queue(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sweep = launch.Sweep(
        cfg=fake_runs.write(tmp_path),
        workdir=str(tmp_path / "sweep"),
        trials=[{"aux.width": width} for width in (1, 2, 3)],
    )
    for _ in range(2):  # the second time nothing is left to do
        overview = launch.run_sweep(sweep, _slurm.Slurm(time=10))
        assert [str(trial.state) for trial in overview.trials] == ["done"] * 3
    names = [job.comment for job in _queue.jobs().values()]
    assert len(names) == len(set(names))
    steps = sorted((tmp_path / "sweep").glob("**/steps.txt"))
    assert [len(path.read_text().split()) for path in steps] == [5, 5, 5]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_over_two_nodes_is_preempted_continues_and_equals_an_uninterrupted_one(
    cluster, tmp_path
):
    once, _ = _train_on_two_nodes(tmp_path / "once", signame=None)
    again, status = _train_on_two_nodes(tmp_path / "again", signame="USR2")
    assert (status.state, status.num_restarts, status.step) == ("done", 1, 100)
    assert again == once


def _train_on_two_nodes(
    workdir: pathlib.Path, *, signame: str | None
) -> tuple[float, launch.JobStatus]:
    """Returns a loss at the end of a run, and where its job is then."""
    job = launch.Job(
        args=(
            "--cfg=examples/digits_classifier.py",
            f"--cfg.workdir={workdir}",
            "--cfg.num_train_steps=100",
            "--cfg.log_metrics_every=10",
            "--cfg.log_summaries_every=1000",
            "--cfg.aux.num_features=4",
            "--cfg.evals={}",
        ),
        workdir=str(workdir),
        slurm=_slurm.Slurm(nodes=2, time=20),
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
    )
    with contextlib.chdir(ROOT):
        job_id = launch.start_job(job).job_id
    if signame is not None:
        _wait_until(lambda: _step(job) >= 10 or launch.status_of_job(workdir).is_over)
        _queue.call("scancel", f"--signal={signame}", str(job_id))
    _wait_until(lambda: launch.status_of_job(workdir).is_over)
    records = json_lines.read(workdir / "metrics.jsonl")
    (last,) = [r for r in records if (r["step"], r["collection"]) == (90, "train")]
    return last["losses/total"], launch.status_of_job(workdir)


def _step(job: launch.Job) -> int:
    path = pathlib.Path(job.workdir) / "metrics.jsonl"
    if not path.exists():
        return 0
    return max((r["step"] for r in json_lines.read(path)), default=0)


def _wait_until(condition, timeout_secs: float = 850.0) -> None:
    deadline = time.monotonic() + timeout_secs
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)
