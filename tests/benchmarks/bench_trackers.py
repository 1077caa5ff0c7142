"""What trackers cost: a training beside them, and the logging of many points.

make bench
"""

from __future__ import annotations

import time

import pytest

from kauldron import kd
from tests.benchmarks import clocks, loops, small_models
from tests.benchmarks import figures as figures_lib

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning"),
]

NUM_POINTS = 100_000
NUM_METRICS = 10
NUM_STEPS = 300


def _points():
    names = [f"train.metric_{i}" for i in range(NUM_METRICS)]
    return [
        kd.tracking.Point(
            step, {name: step / 7 + i for i, name in enumerate(names)}, 1e9 + step
        )
        for step in range(NUM_POINTS // NUM_METRICS)
    ]


def _secs_of_local(folder, points):
    kd.tracking.Workspace.create(folder)
    tracker = kd.tracking.Local(registry=str(folder))
    run = tracker.start(kd.tracking.RunStart(name="many"))
    start = time.perf_counter()
    for i in range(0, len(points), 100):
        run.log_metrics(points[i : i + 100])
    run.end("done")
    secs = time.perf_counter() - start
    registry = kd.tracking.Registry.open(folder)
    assert len(registry.curve(run.id, "train.metric_3").steps) == len(points)
    return secs


def _secs_of_mlflow(folder, points):
    """As MLflow's documentation has it: 1,000 metrics a batch, the most it takes."""
    import mlflow
    from mlflow.entities import Metric

    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.create_run(client.create_experiment("many"))
    metrics = [
        Metric(name, value, int(point.time * 1000), point.step)
        for point in points
        for name, value in point.values.items()
    ]
    start = time.perf_counter()
    for i in range(0, len(metrics), 1000):
        client.log_batch(run.info.run_id, metrics=metrics[i : i + 1000])
    client.set_terminated(run.info.run_id)
    return time.perf_counter() - start


def test_logging_many_points(tmp_path, figures, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    points = _points()
    theirs = _secs_of_mlflow(tmp_path, points)
    ours = [_secs_of_local(tmp_path / str(i), points) for i in range(3)]
    figures.number(
        f"{NUM_POINTS:,} metric points, of MLflow's batches on SQLite",
        [theirs / one for one in ours],
        f"{figures_lib.TIMES} as fast",
        against=f"({theirs:.0f} s, one round)",
        budget=10,
        is_more_better=True,
    )


def test_a_training_beside_a_tracker_and_a_publisher(tmp_path, figures):
    kd.tracking.Workspace.create(tmp_path)
    tracking = {
        "registry": kd.tracking.Local(registry=str(tmp_path)),
        "events": kd.tracking.Publish(
            kd.tracking.JsonLinesPublisher(tmp_path / "events.jsonl")
        ),
    }
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels="batch.label")
    metrics = {f"accuracy_{i}": accuracy for i in range(18)}  # and two losses
    runs = {
        name: loops.our_run(
            tmp_path / name,
            small_models.points(),
            model=small_models.Mlp(widths=(512, 512, 512)),
            train_metrics=metrics,
            log_metrics_every=50,
            tracking=part,
        )
        for name, part in (("off", None), ("on", tracking))
    }
    secs = clocks.in_turn({k: lambda run=r: run(NUM_STEPS) for k, r in runs.items()})
    off_ms = clocks.medians(secs["off"]).wall * 1e3
    figures.ratio(
        "training with a local tracker and a publisher, logged every 50 steps",
        secs["on"],
        secs["off"],
        against=f"without ({off_ms:.2g} ms a step)",
        budget=1.01,
    )
