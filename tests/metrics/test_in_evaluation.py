"""Members inside a trainer and its evaluators: keys, jit, merging, values by name."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import special

from kauldron import kd
from kauldron.train import metric_writer
from tests.train import small_run

_classified = {"logits": "preds.logits", "labels": "batch.label"}
_accuracy = kd.metrics.Accuracy(**_classified)
_norm = kd.metrics.Norm(tensor="params.**.bias", axis=None, aggregation_type="concat")

METRICS = {
    "roc": kd.metrics.RocAuc(**_classified),
    "f1": kd.metrics.F1(**_classified, average="per_class"),
    "calibration": kd.metrics.CalibrationError(**_classified),
    "by_label": kd.metrics.SliceBy(metric=_accuracy, by="batch.label", slices=2),
    "interval": kd.metrics.Bootstrap(metric=_accuracy, num_resamples=20),
    "spread": kd.metrics.Std(values="batch.x"),
    "biases": kd.metrics.TreeMap(metric=_norm),
    "grads": kd.metrics.SkipIfMissing(
        kd.metrics.TreeReduce(
            metric=kd.metrics.Norm(tensor="grads", axis=None, aggregation_type="concat")
        )
    ),
}
SUMMARIES = {
    "logits": kd.summaries.HistogramSummary(tensor="preds.logits"),
    "confusion": kd.summaries.ConfusionMatrix(**_classified),
}


class _Silent(metric_writer.NoopWriter):
    """Shows nothing: this is not about the writer."""

    def write_summaries(self, step, values):
        pass


@pytest.mark.parametrize("batch_size", [7, 40])
def test_members_measure_a_dataset_in_any_batches(tmp_path, batch_size):
    ds = small_run.make_ds(training=False, batch_size=batch_size)
    evaluator = kd.evals.Evaluator(run=kd.evals.Final(), ds=ds, summaries=SUMMARIES)
    trainer = small_run.make_trainer(
        tmp_path, evals={"test": evaluator}, train_metrics=METRICS, writer=_Silent()
    )
    state = trainer.init_state()
    values = trainer.evals.test.evaluate(state, step=0).compute()
    x = small_run.Points().x
    labels = (x[:, 0] > 0).astype(int)
    with kd.nn.set_train_property(False):
        logits = trainer.model.apply({"params": state.params}, x)["logits"]
    logits = np.asarray(logits, np.float64)
    found = {k.removeprefix("metrics/"): v for k, v in values.metric_values.items()}
    expected = {
        "roc": sk.roc_auc_score(labels, special.softmax(logits, -1)[:, 1]),
        "f1/1": sk.f1_score(labels, logits.argmax(-1)),
        "by_label/0": np.mean(logits.argmax(-1)[labels == 0] == 0),
        "interval/value": sk.accuracy_score(labels, logits.argmax(-1)),
        "spread": x.std(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)
    assert {"interval/low", "interval/high", "calibration"} <= set(found)
    assert any(name.startswith("biases/") for name in found)
    assert "grads" not in found
    counts, _ = values.summary_values["summaries/logits"].bins()
    assert counts.sum() == 2 * 40
    assert values.summary_values["summaries/confusion"].shape[-1] == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a run with all members, and an amount per step."""
    folder = tmp_path_factory.mktemp("run")
    amount = kd.metrics.Throughput(values="batch.x", num_axes=2)
    with jax.numpy_dtype_promotion("standard"):  # optimizers mix dtypes
        small_run.make_trainer(
            folder, train_metrics={**METRICS, "x": amount}, num_train_steps=4
        ).train()
    return folder


def test_members_measure_training_steps(trained):
    lines = (trained / "metrics.jsonl").read_text()
    assert '"metrics/grads": ' in lines
    assert '"metrics/by_label/1": ' in lines


def test_run_writes_rates_among_the_timings_alone(trained):
    metrics_lines, timings = (
        [json.loads(x) for x in (trained / name).read_text().splitlines()]
        for name in ("metrics.jsonl", "timings.jsonl")
    )
    assert not any("_per_sec" in name for line in metrics_lines for name in line)
    last = timings[-1]
    expected = 16 * 3 * last["perf_stats/steps_per_sec"]
    np.testing.assert_allclose(last["perf_stats/x_per_sec"], expected, rtol=1e-6)
