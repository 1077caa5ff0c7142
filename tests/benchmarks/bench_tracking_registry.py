"""The registry: a filtered, sorted list of 10,000 runs; indexing 1,000 workdirs.

make bench

`BENCH_TRACKING_RUNS` says how many runs are listed, 10,000 unless given;
`BENCH_TRACKING_WORKDIRS` how many are indexed, 1,000 unless given.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import random
import sqlite3
import statistics
import subprocess
import sys

import pytest

from kauldron import kd
from kauldron.tracking.registry import _database, _notes, _run_writer, _workdir_facts
from kauldron.workdir import json_lines
from tests.benchmarks import clocks

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

NUM_RUNS = int(os.environ.get("BENCH_TRACKING_RUNS", "10000"))
NUM_WORKDIRS = int(os.environ.get("BENCH_TRACKING_WORKDIRS", "1000"))
NUM_PARAMETERS, NUM_METRICS = 30, 20
REPEATS = 5
# So many of the runs have a workdir, which is indexed.
NUM_SAMPLES = 20

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


def _fill_registry(folder, runs):
    """Enters runs as indexing does, without a workdir for each of them.

    A few have one; what is read from these is what the others are made of.
    """
    kd.tracking.Workspace.create(folder)
    kd.tracking.Registry.open(folder).close()
    reader = _workdir_facts.Reader()
    facts = []
    for i, (parameters, metrics) in enumerate(runs):
        workdir = folder / "runs" / f"run{i}"
        if i < NUM_SAMPLES:
            _make_run(workdir, parameters, metrics)
            read = reader.read(str(workdir))
        else:
            workdir.mkdir()
        facts.append(_facts_of(facts[0] if facts else read, parameters, metrics))
        if i < NUM_SAMPLES:
            assert (read.parameters, read.metrics) == (
                facts[-1].parameters,
                facts[-1].metrics,
            )
    database = _database.Database(str(folder / ".kauldron" / "registry.db"))

    def work(connection):
        writer = _run_writer.RunWriter(connection)
        experiment = writer.experiment(writer.project("default"), None, "runs")
        for i, known in enumerate(facts):
            named = f"runs/run{i}", f"run{i}", experiment
            number = writer.take_number()
            writer.write(number, *named, known, _notes.Notes(), is_new=True)
        writer.finish()

    database.write(work)
    _check_samples(folder)


def _facts_of(like, parameters, metrics):
    names = [f"metric{i}" for i in range(NUM_METRICS - 1)] + ["accuracy"]
    measured = {
        f"eval.{name}": dataclasses.replace(
            like.metrics[f"eval.{name}"], last=metrics[name], best=metrics[name]
        )
        for name in names
    }
    return dataclasses.replace(like, parameters=dict(parameters), metrics=measured)


def _check_samples(folder):
    """Makes sure that indexing answers the same about the runs that have a workdir."""
    registry = kd.tracking.Registry.open(folder)
    names = [f"run{i}" for i in range(NUM_SAMPLES)]
    before = [registry.run(name) for name in names]
    indexed = kd.tracking.Registry.open(folder / "indexed.db")
    for name, run in zip(names, before, strict=True):
        again = indexed.register(folder / "runs" / name)
        assert dataclasses.replace(again, id=run.id) == run


def _secs(command, cwd):
    """Returns what a command prints, and its seconds by the clock and of processors."""
    return clocks.measured(
        lambda: (
            subprocess.run(
                command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=True
            ).stdout
        )
    )


def test_list_of_filtered_and_sorted_runs(tmp_path, monkeypatch):
    rng = random.Random(0)
    runs = [_values(rng) for _ in range(NUM_RUNS)]
    root = str(pathlib.Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    _fill_registry(tmp_path, runs)
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
    print(f"\n{NUM_RUNS} runs, {wanted} found; seconds by the clock, of processors:")
    for kind, measured in secs.items():
        clock, processor = map(statistics.median, zip(*measured, strict=True))
        print(f"  {kind:12} {clock:6.2f} {processor:6.2f}")
    for i, what in enumerate(("by the clock", "of processors")):
        ratios = [
            t[i] / o[i] for t, o in zip(secs["mlflow"], secs["list"], strict=True)
        ]
        print(
            f"  {what}: {statistics.median(ratios):.1f} x faster than MLflow's search_runs "
            f"({min(ratios):.1f} to {max(ratios):.1f}, target 10)"
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


def test_indexing_of_workdirs(tmp_path, monkeypatch):
    """Against reading the same files once: their bytes, and the JSON in them.

    JSON is read in two ways: a line after the other, as programs do that use a run's
    records, and the whole file as one list, which is as fast as Python's parser can be.
    """
    rng = random.Random(0)
    parameters, _ = _values(rng)
    text = _many_lines(rng, 1_000_000)
    for i in range(NUM_WORKDIRS):
        workdir = tmp_path / "runs" / f"run{i}"
        _make_run(workdir, parameters, {})
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
    ratios = {name: [] for name in ways}
    total = 0.0
    for group in groups:
        part = tmp_path / "part"
        part.mkdir()
        for file in group:
            file.parent.rename(part / file.parent.name)
        moved = [part / file.parent.name / file.name for file in group]
        _, (_, secs) = clocks.measured(lambda part=part: registry.index(part))
        total += secs
        for name, way in ways.items():
            _, (_, other) = clocks.measured(
                lambda way=way, moved=moved: [way(file) is None for file in moved]
            )
            ratios[name].append(secs / other)
        for file in group:
            (part / file.parent.name).rename(file.parent)
        part.rmdir()
    print(f"\n{NUM_WORKDIRS} workdirs of 1 MB: {total:.1f} s of processors. Against:")
    for name, found in ratios.items():
        print(
            f"  {name:12} {statistics.median(found):7.2f} x ({min(found):.2f} to "
            f"{max(found):.2f})"
        )


def test_a_run_that_goes_on_is_read_from_where_it_was(tmp_path):
    """Of 20 MB of records, and a hundred lines more: what a list costs the second time."""
    rng = random.Random(0)
    _make_run(tmp_path / "run", {}, {})
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
        later.append(secs)
    print(
        f"\nA run of 20 MB that goes on: entered in {first:.2f} s of processors, listed in "
        f"{statistics.median(later) * 1000:.0f} ms after each 100 lines."
    )
