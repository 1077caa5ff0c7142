"""Processes that cannot meet say why; no one waits forever."""

from __future__ import annotations

import contextlib
import json
import os

import jax
import pytest

from kauldron import sharding
from kauldron._base import processes
from kauldron.sharding import _roll_call
from tests.train import processes as processes_lib


def _join(workdir, *places, timeout_secs=20, **kwargs):
    """Starts a process at each place, which joins and leaves at once."""
    program = (
        "import sys\n"
        "from kauldron import sharding\n"
        "from kauldron._base import processes\n"
        "place = processes.requested(sys.argv[1])\n"
        f"with sharding.joined_processes(place, timeout_secs={timeout_secs}, "
        f"workdir={os.fspath(workdir)!r}):\n"
        "    print('JOINED', *processes.index_and_count())\n"
    )
    commands = [["-c", program, place] for place in places]
    return processes_lib.Processes(commands, workdir.parent, **kwargs)


def test_one_process_does_nothing_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", None)  # would raise
    with sharding.starting_together() as facts:
        facts["a"] = "b"
    assert processes.requested("localhost:1,0,1") is None
    assert list(tmp_path.iterdir()) == []


def _present(workdir, index, count=2, address="a:1"):
    return _roll_call.present(_roll_call.Expected(address, index, count), workdir)


def test_roll_call_names_those_who_are_missing_until_they_come(tmp_path):
    workdir = tmp_path / "new" / "run"
    with _present(workdir, 1, count=4) as mine:
        assert mine.describe_absence() == "processes 0, 2, 3"
        with _present(workdir, 0, count=4), _present(workdir, 3, count=4):
            assert mine.describe_absence() == "process 2"
            assert mine.conflict() is None
        left = "process 2 and processes 0, 3, gone again"
        assert mine.describe_absence() == left
    assert not (tmp_path / "new").exists()  # nothing is left


@pytest.mark.parametrize("leaves_first", [0, 1])
def test_who_leaves_last_removes_what_the_first_has_made(tmp_path, leaves_first):
    workdir = tmp_path / "new" / "run"
    stacks = [contextlib.ExitStack(), contextlib.ExitStack()]
    calls = [s.enter_context(_present(workdir, i)) for i, s in enumerate(stacks)]
    stacks[leaves_first].close()
    remaining = calls[1 - leaves_first]
    assert remaining.conflict() is None  # looking at who has left leaves nothing
    stacks[1 - leaves_first].close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_has_written_stays_when_processes_leave(tmp_path):
    workdir = tmp_path / "run"
    with _present(workdir, 0), _present(workdir, 1):
        (workdir / "config.json").write_text("{}")
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_file_of_a_process_that_was_killed_does_not_count(tmp_path):
    folder = tmp_path / ".processes"
    folder.mkdir()
    (folder / "1").write_text(json.dumps({"index": 1, "count": 3, "address": "b:2"}))
    with _present(tmp_path, 0) as mine:
        assert mine.describe_absence() == "process 1"
        assert mine.conflict() is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"count": 3}, "Process 0 was told count 2, process 1 count 3"),
        (
            {"address": "b:1"},
            "Process 0 was told address 'a:1', process 1 address 'b:1'",
        ),
    ],
)
def test_roll_call_finds_who_was_told_something_else(tmp_path, other, message):
    with _present(tmp_path, 0) as mine, _present(tmp_path, 1, **other):
        assert mine.conflict().startswith(message)


def test_the_same_index_twice_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(_roll_call, "_RETRY_SECS", 0.0)
    message = f"Process 1 of 2 is there already: {os.getpid()} on "
    with (
        _present(tmp_path, 1),
        pytest.raises(processes.ProcessesError, match=message),
        _present(tmp_path, 1),
    ):
        pass


@pytest.mark.parametrize("workdir", [None, "gs://bucket/run", "/proc/nowhere"])
def test_without_a_folder_nobody_is_missed(workdir):
    with _present(workdir, 1) as mine:
        assert mine.describe_absence() is None
        assert mine.conflict() is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_processes_that_wait_in_vain_name_the_missing_one(tmp_path):
    port = processes_lib.free_port()
    places = [f"localhost:{port},{i},4" for i in (0, 1, 3)]
    with _join(tmp_path / "run", *places, timeout_secs=30) as waiting:
        assert waiting.wait() == [1, 1, 1]
        for i, index in enumerate((0, 1, 3)):
            told, error = waiting.log(i).splitlines()
            start = f"Process {index} of 4 waits at localhost:{port} for process"
            assert told.startswith(start) and told.endswith(", up to 30 s.")
            # Others may not have come yet, or be gone again.
            assert error.startswith(f"Error: {start}")
            assert "2" in error.removeprefix(f"Error: {start}")
            assert " for 30 s. Was it started, and does its log say why" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("places", "errors"),
    [
        (["localhost:{port},0,2", "localhost:{port},1,3"], ["told count"] * 2),
        (["localhost:{port},0,2", "localhost:1,1,2"], ["told address"] * 2),
        (["localhost:{port},0,3", "localhost:{port},0,3"], ["is there already", "2"]),
        # Nobody is there, and a name that does not exist.
        (["localhost:{port},1,2"], ["for process 0 for 12 s"]),
        (["nohost.invalid:{port},1,2"], ["waits at nohost.invalid"]),
    ],
)
def test_places_that_contradict_each_other_are_told(tmp_path, places, errors):
    port = processes_lib.free_port()
    places = [place.format(port=port) for place in places]
    with _join(tmp_path / "run", *places, timeout_secs=12) as started:
        codes = started.wait()
        logs = [started.log(i) for i in range(len(places))]
    assert set(codes) <= {1, 2}, logs  # JAX has aborted none
    logs.sort(key=lambda log: errors[0] not in log)
    for log, error in zip(logs, errors, strict=True):
        assert error in log


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_processes_meet_as_open_mpi_and_slurm_tell_them(tmp_path):
    port = str(processes_lib.free_port())
    ompi = {
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
        "OMPI_COMM_WORLD_SIZE": "2",
    }
    slurm = {
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    for common, index, local in (
        (ompi, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
        (slurm, "SLURM_PROCID", "SLURM_LOCALID"),
    ):
        common = {**common, "JAX_COORDINATOR_PORT": port}
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(
                    _join(
                        tmp_path / f"run{i}",
                        "auto",
                        env={**common, index: str(i), local: str(i)},
                    )
                )
                for i in range(2)
            ]
            logs = [p.finish()[0] for p in started]
        assert [log.splitlines()[-1] for log in logs] == ["JOINED 0 2", "JOINED 1 2"]
