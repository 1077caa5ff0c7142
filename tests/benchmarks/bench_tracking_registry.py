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

import pytest

from kauldron import kd
from kauldron.workdir import json_lines
from tests.benchmarks import clocks, many_runs

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

NUM_RUNS = int(os.environ.get("BENCH_TRACKING_RUNS", "10000"))
NUM_WORKDIRS = int(os.environ.get("BENCH_TRACKING_WORKDIRS", "1000"))
REPEATS = 7

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


def _secs(command, cwd):
    """Returns what a command prints, and its seconds."""
    return clocks.measured(
        lambda: (
            subprocess.run(
                command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True
            ).stdout
        )
    )


def test_list_of_filtered_and_sorted_runs(tmp_path, monkeypatch, figures):
    rng = random.Random(0)
    runs = [many_runs.values(rng) for _ in range(NUM_RUNS)]
    root = str(pathlib.Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    many_runs.fill(tmp_path, runs)
    _fill_mlflow(tmp_path / "mlflow.db", runs)
    wanted = sum(
        p["optimizer.learning_rate"] < 1e-2 and m["accuracy"] > 0.9 for p, m in runs
    )
    where = "--where=eval.accuracy > 0.9 and optimizer.learning_rate < 1e-2"
    ours = [sys.executable, "-m", "kauldron.cli.main", "runs", "ls", where]
    ours.append("--sort=-eval.accuracy")
    everything = [*ours[:5], "--json"]
    theirs = [sys.executable, "-c", _SEARCH]
    python = [sys.executable, "-c", "pass"]
    kinds = {
        "list": (ours, lambda out: len(out.splitlines()) - 1, wanted),
        "json": ([*ours, "--json"], lambda out: len(json.loads(out)), wanted),
        "table of all": (ours[:5], lambda out: len(out.splitlines()) - 1, NUM_RUNS),
        "all as json": (everything, lambda out: len(json.loads(out)), NUM_RUNS),
        "mlflow": (theirs, int, wanted),
        "python": (python, len, 0),
    }
    secs = {kind: [] for kind in kinds}
    for _ in range(REPEATS):
        for kind, (command, count, expected) in kinds.items():
            out, measured = _secs(command, tmp_path)
            assert count(out) == expected
            secs[kind].append(measured)
    for kind in ("list", "json", "table of all", "all as json"):
        figures.number(
            f"`runs ls` of {NUM_RUNS:,} runs, {wanted} found: {kind}",
            [x.wall for x in secs[kind]],
            "s",
        )
    empty = clocks.medians(secs["python"]).wall
    mlflow = clocks.medians(secs["mlflow"]).wall
    figures.ratio(
        f"`runs ls` of {NUM_RUNS:,} runs, filtered and sorted: speed",
        secs["mlflow"],
        secs["list"],
        against=f"MLflow's `search_runs` ({mlflow:.2g} s; Python alone {empty:.2g})",
        budget=10,
        is_more_better=True,
    )


def _many_lines(rng, num_bytes):
    """Returns about so many bytes of `metrics.jsonl`: five metrics a line."""
    lines, size, step = [], 0, 0
    while size < num_bytes:
        record = {"step": step, "collection": "train"}
        record |= {f"metrics/metric{i}": rng.random() for i in range(5)}
        lines.append(json.dumps(record) + "\n")
        size += len(lines[-1])
        step += 10
    return "".join(lines)


def test_indexing_of_workdirs(tmp_path, monkeypatch, figures):
    """Against reading the same files once: their bytes, and the JSON in them.

    JSON is read in two ways: a line after the other, as programs do that use a run's
    records, and the whole file as one list, which is as fast as Python's parser can be.
    """
    rng = random.Random(0)
    parameters, _ = many_runs.values(rng)
    text = _many_lines(rng, 1_000_000)
    for i in range(NUM_WORKDIRS):
        workdir = tmp_path / "runs" / f"run{i}"
        many_runs.make_run(workdir, parameters, {})
        (workdir / "metrics.jsonl").write_text(text)
    monkeypatch.chdir(tmp_path)
    kd.tracking.Workspace.create()
    files = sorted((tmp_path / "runs").glob("*/metrics.jsonl"))
    groups = [files[i::REPEATS] for i in range(REPEATS)]
    ways = {
        "bytes": lambda file: file.read_bytes(),
        "JSON by line": json_lines.read,
        "JSON at once": lambda file: json.loads(
            b"[%b]" % file.read_bytes().rstrip().replace(b"\n", b",")
        ),
    }
    registry = kd.tracking.Registry.open()
    registry.index(files[0].parent)  # imports what it needs
    ours, theirs = [], {name: [] for name in ways}
    for group in groups:
        part = tmp_path / "part"
        part.mkdir()
        for file in group:
            file.parent.rename(part / file.parent.name)
        moved = [part / file.parent.name / file.name for file in group]
        ours.append(clocks.measured(lambda part=part: registry.index(part))[1])
        for name, way in ways.items():
            _, secs = clocks.measured(
                lambda way=way, moved=moved: [way(file) is None for file in moved]
            )
            theirs[name].append(secs)
        for file in group:
            (part / file.parent.name).rename(file.parent)
        part.rmdir()
    for name, secs in theirs.items():
        figures.ratio(
            f"indexing {NUM_WORKDIRS:,} workdirs of 1 MB, against reading their {name}",
            ours,
            secs,
            against="reading the same files once",
        )


def test_a_run_that_goes_on_is_read_from_where_it_was(tmp_path, figures):
    """Of 20 MB of records, and a hundred lines more: what a list costs the second time."""
    rng = random.Random(0)
    many_runs.make_run(tmp_path / "run", {}, {})
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    status |= {"state": "running"}
    (tmp_path / "run" / "status.json").write_text(json.dumps(status))
    (tmp_path / "run" / "metrics.jsonl").write_text(_many_lines(rng, 20_000_000))
    registry = kd.tracking.Registry.open(tmp_path / "registry.db")
    _, (_, first) = clocks.measured(lambda: registry.register(tmp_path / "run"))
    later = []
    for _ in range(REPEATS):
        with open(tmp_path / "run" / "metrics.jsonl", "a") as f:
            f.write(_many_lines(rng, 23_000))
        _, (_, secs) = clocks.measured(registry.runs)
        later.append(1e3 * secs)
    figures.number(
        "a list of runs after one with 20 MB of records has written 100 lines more, "
        f"processor time (entered in {first:.2g} s)",
        later,
        "ms",
    )
