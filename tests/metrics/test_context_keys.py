"""Which keys a metric reads, wrappers and overrides included."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd

_NORM = kd.metrics.Norm(tensor="grads.**.kernel", axis=None)
_MEAN = kd.metrics.Std(values="preds.x")


class _OwnWiring(kd.metrics.Norm):
    def _resolve_kwargs(self, context):
        return {"tensor": context.interms}


class _BelowOwnWiring(_OwnWiring):
    pass


class _OwnWiringThatTells(_BelowOwnWiring):
    def context_keys(self):
        return ("interms.encoder",)


class _Wiring:
    def get_state_from_context(self, context):
        return self.get_state(tensor=context.interms)


class _WithMixin(_Wiring, kd.metrics.Norm):
    pass


@pytest.mark.parametrize(
    ("metric", "keys"),
    [
        (_MEAN, {"preds.x"}),
        (kd.metrics.TreeMap(metric=_NORM), {"grads.**.kernel"}),
        (kd.metrics.TreeReduce(metric=_NORM), {"grads.**.kernel"}),
        (kd.metrics.SkipIfMissing(_MEAN), {"preds.x"}),
        (
            kd.metrics.SkipIfMissing(kd.metrics.TreeReduce(metric=_NORM)),
            {"grads.**.kernel"},
        ),
        (
            kd.metrics.SliceBy(
                metric=kd.metrics.Accuracy(logits="preds.l", labels="batch.l"),
                by="batch.site",
                slices=2,
            ),
            {"preds.l", "batch.l", "batch.site"},
        ),
        (
            kd.metrics.Bootstrap(
                metric=kd.metrics.Accuracy(logits="preds.l", labels="batch.l")
            ),
            {"preds.l", "batch.l"},
        ),
        (kd.losses.L2(preds="preds.x", targets="batch.x"), {"preds.x", "batch.x"}),
        (kd.metrics.NoopMetric(), set()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_a_metric_tells_the_keys_it_reads(metric, keys):
    # Losses read the step as well, for schedules of weights.
    assert set(metric.context_keys()) - {"step"} == keys


@pytest.mark.parametrize("cls", [_OwnWiring, _BelowOwnWiring, _WithMixin])
def test_what_overrides_the_wiring_may_read_anything(cls):
    metric = cls(tensor="preds.x")
    assert metric.context_keys() is None
    assert metric.check_keys({}, field="cfg.x") == []
    assert kd.metrics.SkipIfMissing(metric).context_keys() is None


def test_an_override_may_tell_its_keys_all_the_same():
    assert _OwnWiringThatTells(tensor="x").context_keys() == ("interms.encoder",)


def test_a_wrong_key_inside_a_wrapper_is_named_as_the_user_wrote_it():
    reduced = kd.metrics.TreeReduce(metric=kd.metrics.Norm(tensor="grad", axis=None))
    [problem] = reduced.check_keys({"grads": 1.0}, field="cfg.train_metrics['n']")
    assert problem.field == "cfg.train_metrics['n'].metric.tensor"
    assert problem.nearest[0].path == "grads"


_WRONG, _RIGHT = kd.metrics.Norm(tensor="grad"), kd.metrics.Norm(tensor="grads")


@pytest.mark.parametrize(
    ("metric", "fields"),
    [
        (kd.metrics.Bootstrap(metric=_RIGHT), []),
        (kd.metrics.Bootstrap(metric=_WRONG), ["metric.tensor"]),
        (kd.metrics.SliceBy(metric=_RIGHT, by="grads", slices=2), []),
        (kd.metrics.SliceBy(metric=_RIGHT, by="site", slices=2), ["by"]),
        (
            kd.metrics.SliceBy(metric=_WRONG, by="site", slices=2),
            ["metric.tensor", "by"],
        ),
        (kd.metrics.TreeMap(metric=_WRONG), ["metric.tensor"]),
        (
            kd.metrics.Bootstrap(
                metric=kd.metrics.SliceBy(metric=_WRONG, by="site", slices=2)
            ),
            ["metric.metric.tensor", "metric.by"],
        ),
    ],
)
def test_each_wrong_key_inside_wrappers_is_found(metric, fields):
    problems = metric.check_keys({"grads": np.ones(2)}, field="cfg.x")
    assert [problem.field for problem in problems] == [f"cfg.x.{f}" for f in fields]


def test_a_key_that_may_be_missing_is_no_problem():
    metric = kd.metrics.SkipIfMissing(_MEAN)
    assert metric.check_keys({"preds": {"y": 1.0}}, field="cfg.x") == []
