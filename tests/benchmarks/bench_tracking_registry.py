"""The registry: a filtered, sorted list of 10,000 runs; indexing 1,000 workdirs.

make bench

`BENCH_TRACKING_RUNS` says how many runs are listed, 10,000 unless given;
`BENCH_TRACKING_WORKDIRS` how many are indexed, 1,000 unless given.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import time

import pytest

from kauldron import kd
from kauldron.workdir import json_lines

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

NUM_RUNS = int(os.environ.get("BENCH_TRACKING_RUNS", "10000"))
NUM_WORKDIRS = int(os.environ.get("BENCH_TRACKING_WORKDIRS", "1000"))
NUM_PARAMETERS, NUM_METRICS = 30, 20
REPEATS = 5

_SEARCH = """
from mlflow.tracking import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
runs, token = [], None
while True:
    found = client.search_runs(
        ["0"],
        "metrics.`eval.accuracy` > 0.9",
        order_by=["metrics.`eval.accuracy` DESC"],
        max_results=10_000,
        page_token=token,
    )
    runs += [
        run for run in found
        if float(run.data.params["optimizer.learning_rate"]) < 1e-2
    ]
    token = found.token
    if not token:
        break
print(len(runs))
"""


def _values(rng: random.Random) -> tuple[dict[str, float], dict[str, float]]:
    parameters = {f"model.width{i}": rng.random() for i in range(NUM_PARAMETERS - 1)}
    parameters["optimizer.learning_rate"] = 10 ** rng.uniform(-4, -1)
    metrics = {f"metric{i}": rng.random() for i in range(NUM_METRICS - 1)}
    metrics["accuracy"] = rng.random()
    return parameters, metrics


def _make_run(workdir, parameters, metrics):
    workdir.mkdir(parents=True)
    config = {"optimizer": {}, "model": {}}
    for path, value in parameters.items():
        group, _, name = path.partition(".")
        config[group][name] = value
    record = {"step": 100, "collection": "eval"}
    record |= {f"metrics/{name}": value for name, value in metrics.items()}
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    status = {"state": "done", "run_id": "0", "first_step": 0, "step": 100}
    status |= {"last_step": 100, "pid": 1, "host": "x", "started": 1.0}
    (workdir / "status.json").write_text(json.dumps({**status, "heartbeat": 2.0}))


def _fill_mlflow(path, runs):
    """Writes runs into a database that MLflow has made, as its own logging would."""
    program = "from mlflow.tracking import MlflowClient as C; C('sqlite:///mlflow.db').search_experiments()"
    subprocess.run([sys.executable, "-c", program], cwd=path.parent, check=True)
    with sqlite3.connect(path) as connection:
        for i, (parameters, metrics) in enumerate(runs):
            run_id = f"{i:032x}"
            connection.execute(
                "INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, "
                "lifecycle_stage, artifact_uri, experiment_id) "
                "VALUES (?, ?, 'me', 'FINISHED', ?, ?, 'active', '', 0)",
                (run_id, f"run{i}", i, i),
            )
            connection.executemany(
                "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
                [(k, str(v), run_id) for k, v in parameters.items()],
            )
            named = [(f"eval.{k}", v, run_id) for k, v in metrics.items()]
            for table in ("metrics", "latest_metrics"):
                connection.executemany(
                    f"INSERT INTO {table} (key, value, run_uuid, timestamp, step, "
                    "is_nan) VALUES (?, ?, ?, 0, 100, 0)",
                    named,
                )
    connection.close()


def _best_secs(command, cwd):
    best, out = float("inf"), ""
    for _ in range(REPEATS):
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True
        )
        best, out = min(best, time.perf_counter() - start), done.stdout
    return best, out


def test_list_of_filtered_and_sorted_runs(tmp_path, monkeypatch):
    rng = random.Random(0)
    runs = [_values(rng) for _ in range(NUM_RUNS)]
    for i, (parameters, metrics) in enumerate(runs):
        _make_run(tmp_path / "runs" / f"run{i}", parameters, metrics)
    monkeypatch.chdir(tmp_path)
    root = str(pathlib.Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    kd.tracking.Workspace.create()
    start = time.perf_counter()
    kd.tracking.Registry.open().index("runs")
    index_secs = time.perf_counter() - start
    _fill_mlflow(tmp_path / "mlflow.db", runs)
    wanted = sum(
        p["optimizer.learning_rate"] < 1e-2 and m["accuracy"] > 0.9 for p, m in runs
    )
    where = "--where=eval.accuracy > 0.9 and optimizer.learning_rate < 1e-2"
    ours = [sys.executable, "-m", "kauldron.cli.main", "runs", "ls", where]
    ours.append("--sort=-eval.accuracy")
    secs, out = _best_secs(ours, tmp_path)
    assert len(out.splitlines()) == wanted + 1
    json_secs, out = _best_secs([*ours, "--json"], tmp_path)
    assert len(json.loads(out)) == wanted
    all_secs, out = _best_secs([*ours[:5], "--json"], tmp_path)
    assert len(json.loads(out)) == NUM_RUNS
    theirs, out = _best_secs([sys.executable, "-c", _SEARCH], tmp_path)
    assert int(out) == wanted
    print(
        f"\n{NUM_RUNS} runs, {wanted} found: runs ls {secs:.2f} s (target 1), --json "
        f"{json_secs:.2f} s; all of them as JSON {all_secs:.2f} s; MLflow's search_runs "
        f"{theirs:.2f} s: {theirs / secs:.1f} x faster (target 10). Indexing them took "
        f"{index_secs:.1f} s."
    )


def test_indexing_of_workdirs(tmp_path, monkeypatch):
    """Against reading the same records once, and against the bytes alone."""
    rng = random.Random(0)
    parameters, _ = _values(rng)
    lines = []
    size = 0
    step = 0
    while size < 1_000_000:
        record = {"step": step, "collection": "train"}
        record |= {f"metrics/metric{i}": rng.random() for i in range(5)}
        line = json.dumps(record) + "\n"
        lines.append(line)
        size += len(line)
        step += 10
    text = "".join(lines)
    for i in range(NUM_WORKDIRS):
        workdir = tmp_path / "runs" / f"run{i}"
        _make_run(workdir, parameters, {})
        (workdir / "metrics.jsonl").write_text(text)
    monkeypatch.chdir(tmp_path)
    kd.tracking.Workspace.create()
    files = sorted((tmp_path / "runs").glob("*/metrics.jsonl"))

    start = time.perf_counter()
    for file in files:
        file.read_bytes()
    bytes_secs = time.perf_counter() - start
    start = time.perf_counter()
    for file in files:
        json_lines.read(file)
    read_secs = time.perf_counter() - start
    registry = kd.tracking.Registry.open()
    start = time.perf_counter()
    report = registry.index("runs")
    index_secs = time.perf_counter() - start
    assert len(report.added) == NUM_WORKDIRS
    start = time.perf_counter()
    registry.index("runs")
    again_secs = time.perf_counter() - start
    print(
        f"\n{NUM_WORKDIRS} workdirs of 1 MB: indexed in {index_secs:.1f} s, records read "
        f"in {read_secs:.1f} s: {index_secs / read_secs:.2f} x (target 2); their bytes "
        f"in {bytes_secs:.2f} s; indexed again in {again_secs:.2f} s."
    )
