"""`kauldron runs deliver`: what trackers have missed is brought to them later."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from kauldron import kd, konfig
from kauldron.cli import delivering
from tests.tracking.registry import made_runs
from tests.tracking.trackers import file_tracker, test_mlflow


@pytest.fixture
def deliver(tmp_path, monkeypatch, capfd):
    """Calls `kauldron runs deliver ARGS`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        capfd.readouterr()
        argv = ["kauldron", "--trust=tests", *args]
        code = delivering.deliver(argv, flag_values=flags.FlagValues())
        return (code, *capfd.readouterr())

    return call


def _make_run(workdir, *folders, **fields):
    """A run that is over, whose config has a tracker for each folder."""
    with konfig.imports():
        from tests.tracking.trackers import file_tracker as configured

    trackers = {x.name: configured.FileTracker(str(x)) for x in folders}
    for folder in folders:
        folder.mkdir(exist_ok=True)
    made_runs.make(workdir, curve=[0.1, 0.2, 0.3], **fields)
    cfg = konfig.ConfigDict({"seed": 3, "tracking": trackers})
    (workdir / "config.json").write_text(cfg.to_json())
    return workdir


def _runs_in(folder):
    return file_tracker.FileTracker(str(folder)).runs()


def test_it_is_delivered_when_the_tracker_is_back_and_once_alone(deliver, tmp_path):
    _make_run(tmp_path / "run", tmp_path / "ours")
    (tmp_path / "ours" / "gone").touch()
    code, out, err = deliver("run")
    assert (code, out) == (1, "")
    assert "run: The tracker 'ours': nobody answers." in err
    assert "A run is not delivered: do it again when the tracker is back." in err
    (tmp_path / "ours" / "gone").unlink()
    assert deliver("run")[:2] == (0, "run: delivered to 'ours'.\n")
    assert deliver("run")[:2] == (0, "run: nothing was missed.\n")
    [run] = _runs_in(tmp_path / "ours")
    assert run["status"] == "done" and run["params"]["seed"] == 3
    values = {0: 0.1, 10: 0.2, 20: 0.3}
    assert run["points"] == [[step, {"eval.accuracy": x}] for step, x in values.items()]


def test_one_that_is_gone_keeps_nothing_from_the_others(deliver, tmp_path):
    for number in (1, 2):
        _make_run(tmp_path / f"run{number}", tmp_path / "gone", tmp_path / "here")
    (tmp_path / "gone" / "gone").touch()
    code, _, err = deliver("run1", "run2")
    assert code == 1 and "2 runs are not delivered" in err
    assert len(_runs_in(tmp_path / "here")) == 2


def test_runs_of_a_workspace_are_named_or_found_by_a_filter(deliver, tmp_path):
    kd.tracking.Workspace.create()
    _make_run(tmp_path / "runs" / "a", tmp_path / "ours")
    made_runs.make(tmp_path / "runs" / "without_tracker", curve=[0.5])
    _make_run(tmp_path / "runs" / "alive", tmp_path / "ours", state="running")
    kd.tracking.Registry.open().index("runs")
    code, out, err = deliver("--where=eval.accuracy > 0")
    assert code == 0, err
    assert "a: delivered to 'ours'.\n" in out
    assert "without_tracker: nothing was missed.\n" in out
    assert "alive is left out: The run in" in err
    assert deliver("a")[1] == "run_0001 a: nothing was missed.\n"
    code, _, err = deliver("alive")
    assert code == 2 and "nothing is to be delivered" in err
    assert deliver()[0] == 2
    assert "not both" in deliver("a", "--where=id == 1")[2]


_CONFIG = """
from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg = digits_classifier.get_config()
    cfg.num_train_steps = 6
    cfg.evals = {{}}
    cfg.tracking = kd.tracking.MLflow(uri={uri!r}, experiment="delivered")
    return cfg
"""


def _kauldron(folder, *args):
    root = os.fspath(pathlib.Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, "-m", "kauldron.cli.main", *args],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "KAULDRON_SIGN_RUNS": "1",  # what it has trained, it trusts
            "XDG_CONFIG_HOME": str(folder / "config"),
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_run_that_ended_while_the_server_was_dead_is_delivered(tmp_path):
    server = test_mlflow.Server(tmp_path)
    server.start()
    (tmp_path / "config.py").write_text(_CONFIG.format(uri=server.uri))
    server.kill()
    try:
        train = ("train", "--cfg=config.py", "--cfg.workdir=runs/digits")
        trained = _kauldron(tmp_path, *train)
        assert trained.returncode == 3, trained.stderr
        assert "kauldron runs deliver WORKDIR" in trained.stderr
        early = _kauldron(tmp_path, "runs", "deliver", "runs/digits")
        assert early.returncode == 1 and "does not answer" in early.stderr
        server.start()
        late = _kauldron(tmp_path, "runs", "deliver", "runs/digits")
        told = late.stdout.splitlines()  # MLflow tells where the run is
        assert told[-1] == "runs/digits: delivered to 'tracking'.", late.stderr
        [run] = _delivered(server.uri, tmp_path)
    finally:
        server.kill()
    assert run["status"] == "done"
    told = [step for step, _ in run["points"]["train.accuracy"]]
    assert told and told == sorted(set(told))


def _delivered(uri, tmp_path):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("delivered").experiment_id
    found = client.search_runs([experiment])
    return [test_mlflow.read_run(uri, run.info.run_id, tmp_path) for run in found]
