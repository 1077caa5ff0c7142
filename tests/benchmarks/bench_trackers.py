"""What trackers cost: a training beside them, and the logging of many points.

make bench
"""

from __future__ import annotations

import statistics
import time

import pytest

from kauldron import kd
from tests.benchmarks import bench_loop

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


def test_logging_many_points(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    points = _points()
    theirs = _secs_of_mlflow(tmp_path, points)
    ours = [_secs_of_local(tmp_path / str(i), points) for i in range(3)]
    print(
        f"\n{NUM_POINTS:,} metric points: local {statistics.median(ours):.2f} s, MLflow's "
        f"batches on sqlite {theirs:.2f} s: {theirs / statistics.median(ours):.0f} times "
        "faster (target 10)"
    )


def test_a_training_beside_a_tracker_and_a_publisher(tmp_path):
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
        name: bench_loop._our_loop(
            tmp_path / name,
            model=bench_loop.Mlp(widths=(512, 512, 512)),
            train_metrics=metrics,
            log_metrics_every=50,
            tracking=part,
        )
        for name, part in (("off", None), ("on", tracking))
    }
    for run in runs.values():
        run(20)  # compiles
    ratios, offs = [], []
    for _ in range(7):
        offs.append(runs["off"](NUM_STEPS))
        ratios.append(runs["on"](NUM_STEPS) / offs[-1])
    print(
        f"\ntraining with local tracker and publisher / without, at "
        f"{statistics.median(offs) / NUM_STEPS * 1e3:.1f} ms a step, logged every 50: "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}; target "
        "1.01)"
    )
