"""MLflow: the contract on a database and on a server; runs whose process died."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from kauldron import kd
from kauldron.contrib.train import mlflow_runs
from tests.tracking import tracker_contract

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning")

_STATUSES = {
    "RUNNING": "running",
    "FINISHED": "done",
    "KILLED": "interrupted",
    "FAILED": "failed",
}

# The command `mlflow server` needs more packages than the client; the app does not.
_SERVER = """
import sys
from mlflow.server import app
from werkzeug.serving import make_server
make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True).serve_forever()
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def read_run(uri, id, tmp_path):
    """A run, in the words of the contract."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.get_run(id)
    return {
        "name": run.info.run_name,
        "status": _STATUSES[run.info.status],
        "params": run.data.params,
        "points": {
            name: sorted((m.step, m.value) for m in client.get_metric_history(id, name))
            for name in run.data.metrics
        },
        "tags": run.data.tags,
        "message": run.data.tags.get("kauldron.message", ""),
        "parent": run.data.tags.get("mlflow.parentRunId", ""),
        "artifacts": {
            path: pathlib.Path(
                client.download_artifacts(id, path, str(tmp_path))
            ).read_text()
            for path in _files(client, id)
        },
    }


def _files(client, id, folder=None):
    for entry in client.list_artifacts(id, folder):
        if entry.is_dir:
            yield from _files(client, id, entry.path)
        else:
            yield entry.path


class Server:
    """A server of MLflow in a process of its own, which can be killed and come back."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        env = {
            **os.environ,
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self.folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{self.folder}/artifacts",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }
        command = [sys.executable, "-c", _SERVER, str(self.port)]
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """A database of MLflow; making one takes long."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    import mlflow

    mlflow.MlflowClient(tracking_uri=uri).create_experiment(
        "kauldron", artifact_location=(folder / "artifacts").as_uri()
    )
    return uri


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    import shutil

    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database.removeprefix("sqlite:///"), folder / "mlflow.db")
    server = Server(folder)
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
class TestDatabase(tracker_contract.Contract):
    @pytest.fixture
    def tracker(self, database):
        return kd.tracking.MLflow(uri=database)

    @pytest.fixture
    def read(self, database, tmp_path):
        return lambda id: read_run(database, id, tmp_path)

    def test_a_point_that_is_logged_again_is_kept_once(self, start, read):
        run = start()
        points = [tracker_contract.point(0, train__loss=2.5)]
        run.log_metrics(points)
        run.log_metrics(points)
        assert read(run.id)["points"]["train.loss"] == [(0, 2.5)]
        assert run.last_steps() == {"train.loss": 0}
        run.end("done")

    def test_a_parameter_that_changes_is_noted(self, start, read):
        run = start()
        run.log_params({"num_train_steps": 10})
        run.end("done")
        again = start(id=run.id)
        again.log_params({"num_train_steps": 20, "new": 1})
        again.end("done")
        kept = read(run.id)
        assert kept["params"] == {"num_train_steps": "10", "new": "1"}
        assert kept["tags"]["changed.num_train_steps"] == "10 -> 20"

    def test_the_next_run_ends_those_whose_process_died(
        self, start, read, database, tmp_path
    ):
        code = (
            "import os, sys, signal; from kauldron import tracking as t;"
            "run = t.MLflow(uri=sys.argv[1]).start(t.RunStart(name='dead'));"
            "print(run.id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        )
        command = [sys.executable, "-c", code, database]
        dead = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert read(dead.stdout.strip())["status"] == "running"
        start().end("done")
        assert read(dead.stdout.strip())["status"] == "interrupted"

    def test_a_run_that_is_not_there_any_more_begins_anew(self, start, read):
        run = start(id="0" * 32)
        assert run.id != "0" * 32
        run.end("done")
        assert read(run.id)["status"] == "done"


@pytest.mark.slow
class TestServer(tracker_contract.Contract):
    @pytest.fixture
    def tracker(self, server):
        return kd.tracking.MLflow(uri=server.uri, experiment="served")

    @pytest.fixture
    def read(self, server, tmp_path):
        return lambda id: read_run(server.uri, id, tmp_path)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("optimizer.learning_rate", "optimizer.learning_rate"),
        ("model.layers[0].features", "model.layers.0.features"),
        ("a=b@c", "a_b_c"),
        ("/a//b/../c", "a/b/c"),
        ("größe", "gr__e"),
        ("", "_"),
    ],
)
def test_names_become_what_mlflow_takes(name, taken):
    assert mlflow_runs.to_name(name) == taken


def test_long_names_that_begin_alike_stay_different():
    names = {mlflow_runs.to_name("x" * 300 + end) for end in "ab"}
    assert len(names) == 2 and {len(x) for x in names} == {250}


@pytest.mark.slow  # imports MLflow
def test_a_server_that_is_gone_is_an_os_error_at_once_and_without_password():
    tracker = kd.tracking.MLflow(uri="http://me:secret@127.0.0.1:1")
    before = time.monotonic()
    with pytest.raises(ConnectionError, match="does not answer") as error:
        tracker.start(kd.tracking.RunStart(name="digits"))
    assert time.monotonic() - before < 10 and "secret" not in str(error.value)


def _runs(uri, name, tmp_path):
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("runs").experiment_id
    found = client.search_runs([experiment], f"attributes.run_name = '{name}'")
    return [read_run(uri, run.info.run_id, tmp_path) for run in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "status"), [("SIGTERM", "interrupted"), ("SIGKILL", "running")]
)
def test_a_training_that_a_signal_ends_goes_on_in_the_same_run(
    database, tmp_path, signal, status
):
    module = "tests.tracking.trackers.mlflow_run"
    workdir = tmp_path / f"by_{signal}"
    command = [sys.executable, "-m", module, str(workdir), database]
    subprocess.run([*command, "7", signal], capture_output=True)
    (run,) = _runs(database, workdir.name, tmp_path)
    assert run["status"] == status
    told = [step for step, _ in run["points"]["train.accuracy"]]
    assert told == [*range(len(told))] and 6 <= len(told) <= 8
    subprocess.run([*command, "-1", signal], check=True, capture_output=True)
    (run,) = _runs(database, workdir.name, tmp_path)
    assert run["status"] == "done"
    assert [step for step, _ in run["points"]["train.accuracy"]] == [*range(10)]
    assert [step for step, _ in run["points"]["eval.accuracy"]] == [0, 5, 10]


@pytest.mark.slow
def test_a_writer_writes_to_a_run_that_someone_else_ends(database, tmp_path):
    import mlflow

    from tests.train import small_run

    client = mlflow.MlflowClient(tracking_uri=database)
    experiment = client.get_experiment_by_name("kauldron").experiment_id
    id = client.create_run(experiment).info.run_id
    writer = kd.contrib.train.MLFlowMetricWriter(run_id=id, uri=database)
    small_run.make_trainer(tmp_path / "a", writer=writer).train()
    run = read_run(database, id, tmp_path)
    assert run["status"] == "running"
    assert [step for step, _ in run["points"]["train.accuracy"]] == [0, 2, 4, 6, 8]
    assert len(small_run.records(tmp_path / "a", "train")) == 5


class Outage(kd.train.Hook):
    """Kills a server at a step, and starts it again at another one."""

    def __init__(self, server, first, last):
        self.server, self.first, self.last = server, first, last
        self.longest_secs, self._before = 0.0, None

    def before_step(self, run, *, step, state, batch):
        now = time.perf_counter()
        if self.first < step <= self.last:
            self.longest_secs = max(self.longest_secs, now - self._before)
        if step == self.first:
            time.sleep(3.0)  # something was told before
            self.server.kill()
        if step == self.last:
            self.server.start()
        self._before = time.perf_counter()
        time.sleep(0.01)


@pytest.mark.slow
def test_a_server_that_is_killed_in_between_gets_all_and_slows_nothing(
    database, tmp_path, capfd
):
    import shutil

    from tests.tracking.trackers import mlflow_run

    shutil.copy(database.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    server = Server(tmp_path)
    server.start()
    outage = Outage(server, first=50, last=250)
    try:
        mlflow_run.make_trainer(
            tmp_path / "outage",
            server.uri,
            num_train_steps=300,
            hooks={"outage": outage},
            checkpointer=None,
            evals={},
        ).train()
        (run,) = _runs(server.uri, "outage", tmp_path)
    finally:
        server.kill()
    assert run["status"] == "done"
    assert [step for step, _ in run["points"]["train.accuracy"]] == [*range(300)]
    told = capfd.readouterr().err
    assert told.count("the tracker 'tracking' takes nothing: MLflow at") == 1
    assert told.count("the tracker 'tracking' is back.") == 1
    assert outage.longest_secs < 1.0  # of a step of 10 ms, on a machine that is busy
