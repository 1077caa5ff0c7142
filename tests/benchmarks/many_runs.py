"""A registry of thousands of runs, made in seconds: few of them have files."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
from collections.abc import Mapping, Sequence

from kauldron import kd
from kauldron.tracking.registry import _database, _notes, _run_writer, _workdir_facts

NUM_PARAMETERS, NUM_METRICS = 30, 20
# So many of the runs have files, which are indexed.
_NUM_SAMPLES = 20

Values = Mapping[str, float]


def values(rng: random.Random) -> tuple[Values, Values]:
    """Returns parameters and metrics of a run."""
    parameters = {f"model.width{i}": rng.random() for i in range(NUM_PARAMETERS - 1)}
    parameters["optimizer.learning_rate"] = 10 ** rng.uniform(-4, -1)
    metrics = {f"metric{i}": rng.random() for i in range(NUM_METRICS - 1)}
    metrics["accuracy"] = rng.random()
    return parameters, metrics


def make_run(workdir: pathlib.Path, parameters: Values, metrics: Values) -> None:
    """Makes the workdir of a run that has measured once."""
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


def fill(folder: pathlib.Path, runs: Sequence[tuple[Values, Values]]) -> None:
    """Makes a workspace of runs as indexing would enter them, with the same rows.

    A few have files; what is read from these is what the others are made of, and what
    the registry answers about them is compared with what it does when they are indexed.
    """
    kd.tracking.Workspace.create(folder)
    kd.tracking.Registry.open(folder).close()
    samples = runs[:_NUM_SAMPLES]
    for i, values_of_run in enumerate(samples):
        make_run(folder / "runs" / f"run{i}", *values_of_run)
    for i in range(len(samples), len(runs)):
        (folder / "runs" / f"run{i}").mkdir()
    like = _workdir_facts.Reader().read(str(folder / "runs" / "run0"))
    facts = [_facts_of(like, *values_of_run) for values_of_run in runs]
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
    _check_samples(folder, len(samples))


def _facts_of(like, parameters, metrics):
    names = [f"metric{i}" for i in range(NUM_METRICS - 1)] + ["accuracy"]
    measured = {
        f"eval.{name}": dataclasses.replace(
            like.metrics[f"eval.{name}"], last=metrics[name], best=metrics[name]
        )
        for name in names
    }
    return dataclasses.replace(like, parameters=dict(parameters), metrics=measured)


def _check_samples(folder, num_samples):
    """Makes sure that indexing answers the same about the runs that have a workdir."""
    registry = kd.tracking.Registry.open(folder)
    names = [f"run{i}" for i in range(num_samples)]
    before = [registry.run(name) for name in names]
    indexed = kd.tracking.Registry.open(folder / "indexed.db")
    for name, run in zip(names, before, strict=True):
        again = indexed.register(folder / "runs" / name)
        assert dataclasses.replace(again, id=run.id) == run
