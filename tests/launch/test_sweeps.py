"""Sweeps: what is run, what is left on disk, what is told."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import signal
import threading
import time

import pytest

from kauldron import konfig, launch
from tests.launch import backend_contract, fake_runs


@pytest.fixture(scope="module")
def pool():
    """One pool of processes for all tests, as their start is what takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(backend_contract.ROOT))
        patch.setenv("JAX_PLATFORMS", "cpu")
        backend = launch.Local(parallel=2)
        yield Local(backend)
        backend.close()


class Local:
    """`Local`, which the end of a sweep does not close."""

    def __init__(self, backend: launch.Local) -> None:
        self._backend = backend
        for name in ("check", "find", "ask", "stop", "parallel"):
            setattr(self, name, getattr(backend, name))

    def start(self, task: launch.Task) -> launch.Handle:
        # pytest changes this for each test, and so each would have processes of its own.
        env = {"PYTEST_CURRENT_TEST": ""}
        return self._backend.start(dataclasses.replace(task, env=env))

    def close(self) -> None:
        pass


@pytest.fixture
def cfg(tmp_path) -> str:
    return fake_runs.write(tmp_path)


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    return tmp_path / "sweep"


def _sweep(cfg: str, folder: pathlib.Path, trials, **kwargs) -> launch.Sweep:
    return launch.Sweep(cfg=cfg, workdir=str(folder), trials=trials, **kwargs)


def _widths(*widths: int):
    return [{"aux.width": width} for width in widths]


def _states(overview: launch.Overview) -> dict[str, str]:
    return {trial.name: str(trial.state) for trial in overview.trials}


def test_each_trial_is_run_in_a_workdir_of_its_name_and_the_best_is_told(
    cfg, folder, pool
):
    overview = launch.run_sweep(_sweep(cfg, folder, _widths(1, 3, 2)), pool)
    assert _states(overview) == {
        "width=1": "done",
        "width=3": "done",
        "width=2": "done",
    }
    assert fake_runs.steps_of(folder / "width=3") == [0, 1, 2, 3, 4]
    assert overview.best is not None
    assert overview.best.name == "width=3"
    # Of the run: width / 10 + step / 100.
    assert (overview.best.value, overview.best.value_step) == (pytest.approx(0.34), 4)
    assert overview.summary() == (
        "3 trials: 3 done. Best eval.accuracy: 0.34, of width=3."
    )
    assert str(overview).splitlines() == [
        "   width  state  step  eval.accuracy  at step",
        "   1      done    5/5           0.14        4",
        "*  3      done    5/5           0.34        4",
        "   2      done    5/5           0.24        4",
    ]
    assert overview.exit_code == 0


def test_a_trial_that_has_no_step_yet_says_for_how_long_it_has_been_starting():
    trial = launch.TrialStatus(
        name="width=1",
        overrides={"aux.width": "1"},
        workdir="runs/sweep/width=1",
        log="",
        state=launch.TrialState.RUNNING,
        started=time.time() - 35,
    )
    overview = launch.Overview(
        workdir="runs/sweep",
        config="c.py",
        labels={"aux.width": "width"},
        trials=(trial, dataclasses.replace(trial, step=3, last_step=5)),
    )
    rows = str(overview).splitlines()[1:]
    assert re.search(r"running  starting, 3\d s", rows[0])
    assert re.search(r"running +3/5", rows[1])


def test_started_again_nothing_is_run_and_more_values_add_only_their_trials(
    cfg, folder, pool
):
    launch.run_sweep(_sweep(cfg, folder, _widths(1, 2)), pool)
    told = []
    launch.run_sweep(_sweep(cfg, folder, _widths(1, 2)), pool, tell=told.append)
    assert told == ["2 of 2 trials are done already."]
    overview = launch.run_sweep(_sweep(cfg, folder, _widths(4, 2)), pool)
    assert list(_states(overview)) == ["width=1", "width=2", "width=4"]
    for width in (1, 2, 4):
        assert fake_runs.first_steps_of(folder / f"width={width}") == [0]
    # One that was removed is run again.
    for file in (folder / "width=1").iterdir():
        file.unlink()
    (folder / "width=1").rmdir()
    launch.run_sweep(_sweep(cfg, folder, _widths(1, 2)), pool)
    assert fake_runs.first_steps_of(folder / "width=1") == [0]
    assert fake_runs.first_steps_of(folder / "width=2") == [0]


def test_a_trial_that_fails_does_not_stop_the_others_and_is_told(cfg, folder, pool):
    trials = [{"aux.fails": True}, {"aux.fails": False}]
    told = []
    overview = launch.run_sweep(_sweep(cfg, folder, trials), pool, tell=told.append)
    assert _states(overview) == {"fails=True": "failed", "fails=False": "done"}
    assert overview.exit_code == 1
    (line,) = [line for line in told if "failed" in line]
    assert line == (
        "fails=True: failed at step 2 of 5 with exit code 1: ValueError: the loss is "
        f"not finite (see {folder}/tasks/fails=True.log)"
    )


def test_on_request_a_failure_stops_the_others_which_continue_later(cfg, folder, pool):
    trials = [{"aux.waits": True}, {"aux.fails": True}, {"aux.width": 5}]
    sweep = _sweep(cfg, folder, trials)
    overview = launch.run_sweep(sweep, pool, stop_on_failure=True)
    assert _states(overview) == {
        "waits=True": "interrupted",
        "fails=True": "failed",
        "width=5": "waiting",
    }
    (folder / "go").touch()
    overview = launch.run_sweep(sweep, pool)
    assert _states(overview) == {
        "waits=True": "done",
        "fails=True": "failed",
        "width=5": "done",
    }
    assert fake_runs.steps_of(folder / "waits=True") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_trials_save_and_the_sweep_continues_later(
    cfg, folder, pool, number
):
    sweep = _sweep(cfg, folder, [{"aux.waits": True}, {"aux.width": 7}])

    def send_when_it_runs() -> None:
        backend_contract.wait_for_file(folder / "waits=True" / "steps.txt")
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send_when_it_runs)
    thread.start()
    with pytest.raises(launch.SweepInterrupted, match=f"Stopped by {number.name}"):
        launch.run_sweep(sweep, pool)
    thread.join()
    assert _states(launch.read_sweep(str(folder)))["waits=True"] == "interrupted"
    (folder / "go").touch()
    assert launch.run_sweep(sweep, pool).count(launch.TrialState.DONE) == 2
    assert fake_runs.steps_of(folder / "waits=True") == [0, 1, 2, 3, 4]


def test_a_worker_that_is_killed_takes_only_its_trial_down(cfg, folder, pool):
    sweep = _sweep(cfg, folder, [{"aux.waits": True}, *_widths(1, 2)])

    def kill_when_it_runs() -> None:
        workdir = folder / "waits=True"
        backend_contract.wait_for_file(workdir / "steps.txt")
        os.kill(fake_runs.pids_of(workdir)[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill_when_it_runs)
    thread.start()
    overview = launch.run_sweep(sweep, pool)
    thread.join()
    assert _states(overview) == {
        "waits=True": "lost",
        "width=1": "done",
        "width=2": "done",
    }
    assert overview.exit_code == 1
    (folder / "go").touch()
    assert launch.run_sweep(sweep, pool).exit_code == 0
    assert fake_runs.steps_of(folder / "waits=True") == [0, 1, 2, 3, 4]


def test_a_trial_that_still_runs_is_waited_for_and_not_started_again(cfg, folder, pool):
    sweep = _sweep(cfg, folder, [{"aux.waits": True}])
    (trial,) = sweep.plan()
    tasks = folder / "tasks"
    task = sweep.task(
        trial,
        log=str(tasks / f"{trial.name}.log"),
        record=str(tasks / f"{trial.name}.json"),
    )
    pool.start(task)  # as a sweep that was killed has done
    backend_contract.wait_for_file(folder / trial.name / "steps.txt")
    told = []

    def tell(line: str) -> None:
        told.append(line)
        (folder / "go").touch()

    overview = launch.run_sweep(sweep, pool, tell=tell)
    assert told == ["waits=True: is running already", "waits=True: done at step 5 of 5"]
    assert overview.exit_code == 0
    assert fake_runs.first_steps_of(folder / trial.name) == [0]


def test_a_run_that_somebody_else_does_is_left_alone(cfg, folder, pool):
    sweep = _sweep(cfg, folder, [{"aux.waits": True}, *_widths(3)])
    (trial, _) = sweep.plan()
    task = sweep.task(trial, log=str(folder / "log"), record=str(folder / "own.json"))
    handle = pool.start(task)
    backend_contract.wait_for_file(folder / trial.name / "status.json")
    overview = launch.run_sweep(sweep, pool)
    assert _states(overview) == {"waits=True": "running", "width=3": "done"}
    (folder / "go").touch()
    assert backend_contract.wait(pool, handle).exit_code == 0
    assert _states(launch.read_sweep(str(folder)))["waits=True"] == "done"


def test_the_folder_tells_everything_without_a_process_of_the_sweep(cfg, folder, pool):
    sweep = _sweep(cfg, folder, _widths(1), flags=("--cfg.seed=3",))
    launch.run_sweep(sweep, pool, metric="eval.accuracy", mode="min")
    content = json.loads((folder / "sweep.json").read_text())
    assert content["config"] == cfg
    assert content["flags"] == ["--cfg.seed=3"]
    assert content["trials"] == [{"name": "width=1", "overrides": {"aux.width": "1"}}]
    assert (content["metric"], content["mode"]) == ("eval.accuracy", "min")
    record = json.loads((folder / "tasks" / "width=1.json").read_text())
    assert (record["state"], record["exit_code"], record["num_starts"]) == (
        "over",
        0,
        1,
    )
    assert konfig.load(folder / "base_config.json").seed == 3
    overview = launch.read_sweep(str(folder)).as_dict()
    assert overview["metric"] == {"name": "eval.accuracy", "mode": "min"}
    assert overview["trials"][0]["value"] == pytest.approx(0.1)  # the least: step 0


def test_a_metric_that_nobody_measures_is_told_and_the_sweep_goes_on(cfg, folder, pool):
    told = []
    sweep = _sweep(cfg, folder, _widths(1))
    overview = launch.run_sweep(sweep, pool, metric="eval.recall", tell=told.append)
    assert overview.exit_code == 0
    assert [line for line in told if "No run has measured 'eval.recall'" in line]


def test_a_sweep_of_another_config_or_of_other_paths_is_refused(cfg, folder, pool):
    sweep = _sweep(cfg, folder, _widths(1))
    launch.run_sweep(sweep, pool)
    before = (folder / "sweep.json").read_bytes()
    with pytest.raises(launch.LaunchError) as error:
        other = dataclasses.replace(sweep, flags=("--cfg.seed=5",))
        launch.run_sweep(other, pool)
    assert "holds a sweep of another config" in str(error.value)
    assert "~ cfg.seed: 0 -> 5" in str(error.value)
    with pytest.raises(launch.LaunchError) as error:
        launch.run_sweep(_sweep(cfg, folder, [{"aux.rate": 0.1}]), pool)
    assert "there it varies `aux.width`, now `aux.rate`" in str(error.value)
    assert (folder / "sweep.json").read_bytes() == before
    # More of a path is the same sweep, as long as nothing is taken away.
    more = [*_widths(1), {"aux.width": 2, "aux.rate": 0.1}]
    assert list(_states(launch.run_sweep(_sweep(cfg, folder, more), pool))) == [
        "width=1",
        "width=2,rate=0.1",
    ]
    with pytest.raises(launch.LaunchError, match="is the workdir of a run"):
        (folder / "width=1" / "config.json").write_text("{}")
        launch.run_sweep(_sweep(cfg, folder / "width=1", _widths(1)), pool)


def test_a_path_that_does_not_exist_is_told_before_anything_starts(cfg, folder, pool):
    with pytest.raises(konfig.ConfigError, match="Did you mean 'width'"):
        launch.run_sweep(_sweep(cfg, folder, [{"seed": 1}, {"aux.widht": 1}]), pool)
    assert not folder.exists()


def test_two_sweeps_do_not_work_in_one_folder(cfg, folder, pool):
    sweep = _sweep(cfg, folder, [{"aux.waits": True}])
    errors = []

    def tell(line: str) -> None:
        try:
            launch.run_sweep(sweep, pool)
        except launch.LaunchError as e:
            errors.append(str(e))
        (folder / "go").touch()

    launch.run_sweep(sweep, pool, tell=tell)
    assert errors
    assert all("Another `kauldron sweep` works on" in e for e in errors)


def test_commands_are_written_for_what_is_missing(cfg, folder, tmp_path, pool):
    launch.run_sweep(_sweep(cfg, folder, _widths(1)), pool)
    backend = launch.Commands(file=str(tmp_path / "commands.sh"))
    overview = launch.run_sweep(_sweep(cfg, folder, _widths(1, 2, 3)), backend)
    assert _states(overview)["width=2"] == "waiting"
    lines = (tmp_path / "commands.sh").read_text().splitlines()
    assert [line.count("--cfg.aux.width=1 ") for line in lines] == [0, 0]
    assert os.system(lines[0]) == 0
    assert _states(launch.read_sweep(str(folder))) == {
        "width=1": "done",
        "width=2": "done",
        "width=3": "waiting",
    }
    assert "width=2" in (folder / "tasks").joinpath("width=2.log").name


@pytest.mark.slow
def test_trials_run_as_jobs_and_are_looked_at_by_what_has_started_them(
    cfg, folder, monkeypatch, pool
):
    monkeypatch.setenv("PYTHONPATH", str(backend_contract.ROOT))
    jobs = launch.Slurm(executor="local", time=10)
    overview = launch.run_sweep(_sweep(cfg, folder, _widths(1, 2)), jobs)
    assert _states(overview) == {"width=1": "done", "width=2": "done"}
    told = []
    sweep = _sweep(cfg, folder, _widths(1, 2, 3))
    assert launch.run_sweep(sweep, pool, tell=told.append).exit_code == 0
    assert told[0] == "2 of 3 trials are done already."
    assert len(launch.read_sweep(str(folder)).trials) == 3
    assert fake_runs.first_steps_of(folder / "width=2") == [0]
