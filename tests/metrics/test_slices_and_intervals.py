"""`SliceBy` and `Bootstrap`: what they measure, and what they refuse."""

from __future__ import annotations

import dataclasses
import logging

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk

from kauldron import kontext, losses, metrics
from tests.metrics import contract

_rng = np.random.default_rng(0)
_logits = _rng.normal(size=(40, 3)).astype(np.float32)
_labels = _rng.integers(3, size=(40, 1))
_accuracy = metrics.Accuracy(logits="l", labels="t", mask="m")


def test_slices_without_examples_are_undefined():
    metric = metrics.SliceBy(
        metric=metrics.Norm(tensor="x", mask="m"), by="d", slices=["a", "b", "c"]
    )
    context = {"x": np.array([[3.0], [4.0], [5.0]]), "d": np.array([0, 2, 2])}
    context["m"] = np.array([1.0, 1.0, 0.0])
    contract.assert_close(
        metric(context=context), {"a": 3, "b": np.nan, "c": 4}, rtol=0
    )
    assert metric.__metric_names__() == ["a", "b", "c"]


@pytest.mark.parametrize("mask_dtype", [bool, np.uint8, np.float32])
def test_padding_is_in_no_slice(mask_dtype):
    loss = losses.L2(preds="p", targets="t")
    metric = metrics.SliceBy(metric=loss, by="d", slices=["a", "padding"])
    preds = np.array([[2.0], [np.nan], [7.0]], np.float32)
    mask = np.array([1, 0, 0]).astype(mask_dtype)
    batch = {"preds": preds, "targets": 0 * preds, "mask": mask}
    get_state = jax.jit(lambda kwargs: metric.get_state(**kwargs))
    state = get_state({**batch, "by": np.array([0, 1, 1])})
    expected = {"a": 4, "padding": np.nan}
    contract.assert_close(state.compute(), expected, rtol=0)
    contract.assert_close(state.merge(state).compute(), expected, rtol=0)
    more = get_state({**batch, "by": np.array([1, 0, 1])})
    contract.assert_close(state.merge(more).compute(), {"a": 4, "padding": 4}, rtol=0)


def test_values_that_are_no_slice_do_not_count():
    metric = metrics.SliceBy(metric=_accuracy, by="d", slices={"a": 1, "b": 0})
    by = np.arange(40) % 4 - 1
    value = metric(logits=_logits, labels=_labels, by=by)
    each = _logits.argmax(-1) == _labels[:, 0]
    expected = {"a": each[by == 1].mean(), "b": each[by == 0].mean()}
    contract.assert_close(value, expected, rtol=1e-6)


def test_each_value_of_an_undefined_slice_is_nan():
    f1 = metrics.F1(logits="l", labels="t", average="per_class")
    metric = metrics.SliceBy(metric=f1, by="d", slices=["all", "none"])
    value = metric(logits=_logits, labels=_labels, by=np.zeros(40, int))
    assert list(value["none"]) == ["0", "1", "2"]
    assert all(np.isnan(x) for x in value["none"].values())
    assert all(np.isfinite(x) for x in value["all"].values())


_INTEGERS = ["uint8", "int8", "uint16", "int16", "int32", "int64", "uint64"]


@pytest.mark.parametrize("dtype", ["bool", *_INTEGERS, "float32", "bfloat16"])
def test_what_is_sliced_by_may_be_of_any_dtype(dtype):
    x, by = np.array([[3.0], [4.0], [5.0]]), np.array([0, 1, 1])
    slices = {"a": 0, "b": 1, "too much": 256 + 1, "less": -255}
    metric = metrics.SliceBy(metric=metrics.Norm(tensor="x"), by="d", slices=slices)
    by = by.astype(jnp.dtype(dtype))
    expected = {"a": 3, "b": 4.5, "too much": np.nan, "less": np.nan}
    contract.assert_close(metric(tensor=x, by=by), expected, rtol=0)
    jitted = jax.jit(metric.get_state)
    contract.assert_close(jitted(tensor=x, by=by).compute(), expected, rtol=0)


def test_numbers_of_64_bits_keep_their_upper_half():
    slices = {"a": 2**32 + 1, "b": 1}
    metric = metrics.SliceBy(metric=metrics.Norm(tensor="x"), by="d", slices=slices)
    value = metric(tensor=np.array([[3.0], [4.0]]), by=np.array([2**32 + 1, 1]))
    assert value == {"a": 3, "b": 4}


def test_strings_are_no_slices():
    metric = metrics.SliceBy(
        metric=metrics.Norm(tensor="x"), by="batch.d", slices=["a"]
    )
    with pytest.raises(ValueError, match=r"key 'batch.d' is <U1 \(1,\). Make integers"):
        metric.get_state(tensor=np.ones((1, 1)), by=np.array(["a"]))


def test_metric_without_mask_cannot_be_sliced():
    with pytest.raises(TypeError, match="NoopMetric takes no `mask`"):
        metrics.SliceBy(metric=metrics.NoopMetric(), by="d", slices=2)


def test_interval_is_as_wide_as_theory_says():
    x = _rng.normal(2, 1, size=(400, 1)).astype(np.float32)
    metric = metrics.Bootstrap(metric=metrics.SingleDimension(tensor="x"), seed=1)
    value = metric(tensor=x)
    # Normal approximation: +- 1.96 sigma / sqrt(n); 1000 draws leave some 5 % noise.
    np.testing.assert_allclose(value["value"], x.mean(), rtol=1e-5)
    half_width = 1.96 * x.std() / 20
    np.testing.assert_allclose(x.mean() - value["low"], half_width, rtol=0.15)
    np.testing.assert_allclose(value["high"] - x.mean(), half_width, rtol=0.15)


def test_collected_scores_can_be_resampled():
    logits = _rng.normal(size=(50, 2))
    labels = (logits[:, 1:] + _rng.normal(size=(50, 1)) > 0).astype(int)
    auc = metrics.RocAuc(logits="l", labels="t")
    value = metrics.Bootstrap(metric=auc, num_resamples=50)(
        logits=logits, labels=labels
    )
    np.testing.assert_allclose(value["value"], auc(logits=logits, labels=labels))
    assert value["low"] < value["value"] < value["high"]


def test_states_that_do_not_add_up_cannot_be_resampled():
    metric = metrics.Bootstrap(metric=metrics.Std(values="x"))
    with pytest.raises(TypeError, match="got Std with MomentsState"):
        metric.get_state(values=np.ones((3, 1)))


@pytest.mark.parametrize("by_shape", [(40,), (40, 1)])
@pytest.mark.parametrize("mask_shape", [(40,), (40, 1)])
def test_slices_and_masks_may_lack_the_last_axis(by_shape, mask_shape):
    by, mask = _rng.integers(2, size=by_shape), _rng.integers(2, size=mask_shape)
    for metric, values, each in [
        (_accuracy, {"logits": _logits, "labels": _labels}, None),
        (
            metrics.Norm(tensor="x", mask="m"),
            {"tensor": _logits},
            np.linalg.norm(_logits, axis=-1),
        ),
    ]:
        if each is None:
            each = _logits.argmax(-1) == _labels[:, 0]
        value = metrics.SliceBy(metric=metric, by="d", slices=2)(
            by=by, mask=mask, **values
        )
        for name in (0, 1):
            at = (by.ravel() == name) & (mask.ravel() == 1)
            np.testing.assert_allclose(value[str(name)], each[at].mean(), rtol=1e-6)


def test_losses_and_collected_scores_can_be_sliced():
    by = np.arange(40) % 2
    loss = losses.L2(preds="p", targets="t", weight=2.0)
    value = metrics.SliceBy(metric=loss, by="d", slices=["even", "odd"])(
        preds=_logits, targets=0 * _logits, by=by
    )
    np.testing.assert_allclose(value["odd"], 2 * (_logits[1::2] ** 2).mean(), rtol=1e-6)
    binary = (_labels > 0).astype(int)
    roc = metrics.RocAuc(logits="l", labels="t")
    value = metrics.SliceBy(metric=roc, by="d", slices=["even", "odd"])(
        logits=_logits[:, :1], labels=binary, by=by
    )
    expected = sk.roc_auc_score(binary[::2, 0], _logits[::2, 0])
    np.testing.assert_allclose(value["even"], expected, rtol=1e-12)


@pytest.mark.parametrize("slices", [0, [], ["a", "a"], {"a": "x"}, {"a": 0.5}, {}])
def test_slices_that_are_none_are_refused(slices):
    with pytest.raises(ValueError, match="number >= 1, different names, or a dict"):
        metrics.SliceBy(metric=_accuracy, by="d", slices=slices)


def test_slice_of_another_number_of_examples_is_refused():
    metric = metrics.SliceBy(metric=_accuracy, by="d", slices=2)
    with pytest.raises(ValueError, match=r"mask \(3,\), values \(40, 1\)"):
        metric.get_state(logits=_logits, labels=_labels, by=np.zeros(3, int))


def test_what_has_no_examples_is_shared_by_all_resamples():
    loss = losses.L2(preds="p", targets="t", weight=lambda step: step / 2)
    context = {"p": _logits, "t": 0 * _logits, "step": 6}
    value = metrics.Bootstrap(metric=loss, num_resamples=50)(context=context)
    np.testing.assert_allclose(value["value"], 3 * (_logits**2).mean(), rtol=1e-6)
    assert value["low"] < value["value"] < value["high"]


def test_dicts_of_values_have_an_interval_each():
    f1 = metrics.F1(logits="l", labels="t", average="per_class")
    value = metrics.Bootstrap(metric=f1, num_resamples=50)(
        logits=_logits, labels=_labels
    )
    expected = sk.f1_score(_labels, _logits.argmax(-1), average=None)
    np.testing.assert_allclose(list(value["value"].values()), expected, rtol=1e-12)
    assert all(value["low"][k] < value["high"][k] for k in value["value"])


def test_masked_examples_are_no_part_of_the_value():
    mask = _rng.integers(2, size=(40, 1))
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=20)
    value = metric(logits=_logits, labels=_labels, mask=mask)["value"]
    expected = np.mean((_logits.argmax(-1) == _labels[:, 0])[mask[:, 0] == 1])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_intervals_of_none_and_of_one_example():
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=3)
    assert metric.empty().finalize().compute() == {}
    one = metric(logits=np.eye(3)[:1], labels=np.zeros((1, 1), int))
    assert one == {"value": 1, "low": 1, "high": 1}


def test_inputs_of_different_numbers_of_examples_cannot_be_resampled():
    metric = metrics.Bootstrap(metric=_accuracy)
    with pytest.raises(
        ValueError, match=r"examples as first axis .*'labels': \(5, 1\)"
    ):
        metric.get_state(logits=_logits, labels=_labels[:5])


def test_same_intervals_in_any_batches():
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=20, seed=3)
    get_state = jax.jit(lambda x, y: metric.get_state(logits=x, labels=y))
    a, b = get_state(_logits[:15], _labels[:15]), get_state(_logits[15:], _labels[15:])
    whole = get_state(_logits, _labels)
    assert a.merge(b).finalize().compute() == whole.finalize().compute()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ratio(metrics.Metric):
    """Sum of x over the sum of y, undefined where that is 0; and what states can do."""

    x: kontext.Key = kontext.REQUIRED
    y: kontext.Key = kontext.REQUIRED

    @flax.struct.dataclass
    class State(metrics.AutoState):
        x: jnp.ndarray = metrics.sum_field()
        y: jnp.ndarray = metrics.sum_field()
        least: jnp.ndarray = metrics.auto_state.min_field()
        greatest: jnp.ndarray = metrics.auto_state.max_field()
        columns: jnp.ndarray = metrics.concat_field(axis=1)
        mean: metrics.State = metrics.auto_state.state_field()

        def compute(self):
            final = super().compute()
            return {
                "ratio": final.x / final.y if final.y else np.nan,
                "least": final.least,
                "greatest": final.greatest,
                "last": final.columns[1].sum(),
                "mean": final.mean,
            }

    def get_state(self, x, y, mask=None):
        return self.State(
            x=x.sum(),
            y=y.sum(),
            least=x.min(),
            greatest=x.max(),
            columns=jnp.stack([x, y], axis=0),
            mean=metrics.AverageState.from_values(x, mask=mask),
        )


def _draws(size, *, num, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(size, size=size) for _ in range(num)]


def test_interval_is_of_the_draws_where_the_metric_is_defined(caplog):
    x, y = np.arange(1.0, 9), np.array([2.0] + 7 * [0.0])
    metric = metrics.Bootstrap(metric=_Ratio(x="x", y="y"), num_resamples=100)
    with caplog.at_level(logging.WARNING, logger="absl"):
        value = metric(x=x, y=y)
    draws = _draws(8, num=100)
    ratios = [x[i].sum() / y[i].sum() for i in draws if y[i].sum()]
    assert value["value"]["ratio"] == x.sum() / 2
    for name, share in [("low", 0.025), ("high", 0.975)]:
        expected = {
            "ratio": np.quantile(ratios, share),
            "least": np.quantile([x[i].min() for i in draws], share),
            "greatest": np.quantile([x[i].max() for i in draws], share),
            "last": np.quantile([y[i].sum() for i in draws], share),
            "mean": np.quantile([x[i].mean() for i in draws], share),
        }
        contract.assert_close(value[name], expected, rtol=1e-6)
    undefined = 100 - len(ratios)
    assert f"not defined (NaN) in {undefined} of 100 draws" in caplog.text


def test_interval_of_what_is_undefined_is_undefined():
    x = np.arange(1.0, 9)
    metric = metrics.Bootstrap(metric=_Ratio(x="x", y="y"), num_resamples=20)
    value = metric(x=x, y=0 * x)
    for name in ("value", "low", "high"):
        assert np.isnan(value[name]["ratio"])
        assert np.isfinite(value[name]["mean"])


def test_interval_of_a_diverged_model_is_nan_though_some_draws_are_finite():
    x = np.array([[1.0], [2.0], [np.nan]], np.float32)
    metric = metrics.Bootstrap(metric=metrics.Norm(tensor="x"), num_resamples=50)
    assert all(np.isnan(v) for v in metric(tensor=x).values())


def test_interval_reaches_to_infinity_without_becoming_nan():
    x = np.array([[1.0], [2.0], [np.inf]], np.float32)
    metric = metrics.Bootstrap(metric=metrics.Norm(tensor="x"), num_resamples=100)
    value = metric(tensor=x)
    assert value["value"] == value["high"] == np.inf
    assert value["low"] < 2


@pytest.mark.parametrize("mask_dtype", [bool, np.int32, np.float32])
@pytest.mark.parametrize("axes", [(), (1,)])
def test_padding_is_never_drawn(mask_dtype, axes):
    padding = np.arange(40) % 3 == 1
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=20)
    mask = (~padding).astype(mask_dtype).reshape(40, *axes)
    logits = np.where(padding[:, None], np.nan, _logits)
    value = metric(logits=logits, labels=_labels, mask=mask)
    expected = metric(logits=_logits[~padding], labels=_labels[~padding])
    contract.assert_close(value, expected, rtol=1e-6)


def test_interval_of_padding_alone_is_undefined():
    metric = metrics.Bootstrap(metric=_accuracy, num_resamples=3)
    value = metric(logits=_logits, labels=_labels, mask=np.zeros(40))
    assert list(value) == ["value", "low", "high"]
    assert all(np.isnan(x) for x in value.values())


def test_bounds_are_the_percentiles_of_the_confidence():
    x = np.arange(1, 9, dtype=np.float32)[:, None]
    metric = metrics.Bootstrap(
        metric=metrics.Norm(tensor="x"), num_resamples=64, confidence=0.5, seed=7
    )
    means = [x[i].mean() for i in _draws(8, num=64, seed=7)]
    value = metric(tensor=x)
    bounds = [value["low"], value["high"]]
    np.testing.assert_allclose(bounds, np.quantile(means, [0.25, 0.75]), rtol=1e-6)


def test_labels_that_are_no_class_are_told_through_wrappers():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(logits="l", labels="batch.y")
    labels = np.where(np.arange(40)[:, None] == 7, 3, _labels)
    batch = {"logits": _logits, "labels": labels}
    interval = metrics.Bootstrap(metric=loss, num_resamples=3)
    slices = metrics.SliceBy(metric=loss, by="d", slices=["even", "odd"])
    by, mask = np.arange(40) % 2, np.arange(40) != 7
    for metric, more in [(interval, {}), (slices, {"by": by})]:
        with pytest.raises(metrics.LabelError, match=r"'batch.y'.* \[0, 3\): got 3"):
            metric(**batch, **more)
        merged = metric.get_state(**batch, mask=mask, **more)
        merged = merged.merge(metric.get_state(**batch, mask=mask, **more))
        value = merged.finalize().compute()
        assert all(np.isfinite(x) for x in jax.tree.leaves(value))
    only_even = metrics.SliceBy(metric=loss, by="d", slices={"even": 0})
    expected = loss(logits=_logits[::2], labels=_labels[::2])
    value = only_even(**batch, by=by)
    np.testing.assert_allclose(value["even"], expected, rtol=1e-6)


def test_an_example_of_which_anything_counts_is_drawn():
    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    mask = np.array([[1, 0], [0, 0.5]] * 4)
    metric = metrics.Bootstrap(
        metric=losses.L2(preds="p", targets="t"), num_resamples=32, seed=5
    )
    value = metric(preds=x, targets=0 * x, mask=mask)
    totals, counts = (mask * x**2).sum(-1), mask.sum(-1)
    draws = [totals[i].sum() / counts[i].sum() for i in _draws(8, num=32, seed=5)]
    np.testing.assert_allclose(value["value"], totals.sum() / counts.sum(), rtol=1e-6)
    bounds = [value["low"], value["high"]]
    np.testing.assert_allclose(bounds, np.quantile(draws, [0.025, 0.975]), rtol=1e-6)


@pytest.mark.parametrize("num_undefined", [0, 1])
def test_a_single_undefined_draw_is_told_and_none_is_not(caplog, num_undefined):
    x, y = np.arange(1.0, 9), np.array([2.0] + 7 * [0.0])
    is_undefined = [not y[i].sum() for i in _draws(8, num=20)]
    num = 1 + int(np.argmax(np.cumsum(is_undefined) == num_undefined))
    assert sum(is_undefined[:num]) == num_undefined
    with caplog.at_level(logging.WARNING, logger="absl"):
        metrics.Bootstrap(metric=_Ratio(x="x", y="y"), num_resamples=num)(x=x, y=y)
    assert ("not defined (NaN) in 1 of" in caplog.text) == bool(num_undefined)


def test_two_slices_have_examples_in_each_batch_or_in_one_alone():
    metric = metrics.SliceBy(metric=metrics.Norm(tensor="x"), by="d", slices=3)
    empty = metric.empty()
    first = metric.get_state(tensor=np.array([[3.0], [5.0]]), by=np.array([0, 1]))
    second = metric.get_state(tensor=np.array([[7.0], [9.0]]), by=np.array([1, 1]))
    expected = {"0": 3, "1": 7, "2": np.nan}
    for merged in (
        first.merge(second),
        second.merge(first),
        empty.merge(first).merge(second),
        first.merge(empty).merge(second.merge(empty)),
    ):
        contract.assert_close(merged.finalize().compute(), expected, rtol=1e-6)
    assert empty.merge(empty).finalize().compute() == {}


def test_fractional_weights_weigh_inside_of_slices():
    x, by = np.array([[3.0], [4.0], [6.0], [9.0]]), np.array([0, 0, 1, 1])
    weights = np.array([1.0, 0.25, 0.5, 1.5])
    metric = metrics.SliceBy(metric=metrics.Norm(tensor="x"), by="d", slices=2)
    value = metric(tensor=x, by=by, mask=weights)
    expected = {"0": (3 + 4 / 4) / 1.25, "1": (6 / 2 + 9 * 1.5) / 2}
    contract.assert_close(value, expected, rtol=1e-6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _InOrder(metrics.Metric):
    """What a sequence of pairs adds up to if later numbers count more."""

    x: kontext.Key = kontext.REQUIRED

    @flax.struct.dataclass
    class State(metrics.AutoState):
        pairs: jnp.ndarray = metrics.concat_field(axis=1)
        total: jnp.ndarray = metrics.sum_field()

        def compute(self):
            final = super().compute()
            numbers = final.pairs[0]
            return {
                "weighted": (numbers * np.arange(numbers.size)).sum(),
                "total": final.total,
            }

    def get_state(self, x):
        return self.State(pairs=x.reshape(1, -1), total=x.sum(dtype=x.dtype))


def test_examples_that_are_drawn_are_laid_end_to_end():
    x = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 13.0]])
    value = metrics.Bootstrap(metric=_InOrder(x="x"), num_resamples=9)(x=x)
    drawn = [x[i].ravel() @ np.arange(6) for i in _draws(3, num=9)]
    assert value["value"]["weighted"] == x.ravel() @ np.arange(6)
    np.testing.assert_allclose(
        [value["low"]["weighted"], value["high"]["weighted"]],
        np.quantile(drawn, [0.025, 0.975]),
    )


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_sums_over_the_examples_of_a_draw_do_not_overflow(dtype):
    largest = {np.int32: 2**30, np.float32: 2.0**127}[dtype]
    x = np.full((5, 1), largest, dtype)
    value = metrics.Bootstrap(metric=_InOrder(x="x"), num_resamples=2)(x=x)
    assert value["low"]["total"] == value["value"]["total"] == 5 * largest


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_least_and_greatest_number_of_a_dtype_are_slices(dtype):
    least, greatest = np.iinfo(dtype).min, np.iinfo(dtype).max
    slices = {"least": least, "greatest": greatest, "more": greatest + 1}
    metric = metrics.SliceBy(metric=metrics.Norm(tensor="x"), by="d", slices=slices)
    by = np.array([least, greatest], dtype)
    value = metric(tensor=np.array([[3.0], [4.0]]), by=by)
    contract.assert_close(value, {"least": 3, "greatest": 4, "more": np.nan}, rtol=0)


@pytest.mark.parametrize(
    ("changes", "num", "seed"),
    [({}, 1000, 0), ({"seed": 1}, 1000, 1), ({"num_resamples": 30}, 30, 0)],
)
def test_draws_are_a_thousand_of_seed_zero_unless_told(changes, num, seed):
    x = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]], np.float32)
    value = metrics.Bootstrap(metric=metrics.Norm(tensor="x"), **changes)(tensor=x)
    means = [x[i].mean() for i in _draws(5, num=num, seed=seed)]
    bounds = [value["low"], value["high"]]
    np.testing.assert_allclose(bounds, np.quantile(means, [0.025, 0.975]), rtol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"num_resamples": 0}, {"confidence": 0}, {"confidence": 1}]
)
def test_intervals_that_are_none_are_refused(changes):
    with pytest.raises(ValueError, match=r"num_resamples >= 1.*in \(0, 1\)"):
        metrics.Bootstrap(metric=_accuracy, **changes)


def test_bound_between_a_number_and_infinity_is_infinity():
    x = np.array([[1.0], [2.0], [np.inf]], np.float32)
    # A seed of which one draw has the infinity, and the other has not.
    seed = next(
        seed
        for seed in range(100)
        if sorted(2 in i for i in _draws(3, num=2, seed=seed)) == [False, True]
    )
    metric = metrics.Bootstrap(
        metric=metrics.Norm(tensor="x"), num_resamples=2, seed=seed
    )
    assert list(metric(tensor=x).values()) == [np.inf] * 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _MeansBySign(metrics.Metric):
    """The means of the negative and of the positive numbers, as an array."""

    x: kontext.Key = kontext.REQUIRED

    @flax.struct.dataclass
    class State(metrics.AutoState):
        totals: jnp.ndarray = metrics.sum_field()
        counts: jnp.ndarray = metrics.sum_field()

        def compute(self):
            final = super().compute()
            means = final.totals / np.maximum(final.counts, 1)
            return np.where(final.counts > 0, means, np.nan)

    def get_state(self, x, mask=None):
        weights = jnp.ones_like(x) if mask is None else mask
        is_of = jnp.stack([x < 0, x > 0]) & (weights[None] > 0)
        return self.State(
            totals=jnp.where(is_of, x, 0).sum(1), counts=is_of.sum(1).astype(x.dtype)
        )


def test_each_number_of_an_array_has_an_interval_of_the_draws_where_it_is_defined(
    caplog,
):
    x = np.array([-1.0, 2.0, 3.0, 5.0, 8.0])
    metric = metrics.Bootstrap(metric=_MeansBySign(x="x"), num_resamples=40)
    with caplog.at_level(logging.WARNING, logger="absl"):
        value = metric(x=x)
    draws = [x[i] for i in _draws(5, num=40)]
    positive = [d[d > 0].mean() for d in draws if (d > 0).any()]
    np.testing.assert_allclose(value["value"], [-1, 4.5])
    for name, share in [("low", 0.025), ("high", 0.975)]:
        expected = [-1, np.quantile(positive, share)]
        np.testing.assert_allclose(value[name], expected)
    num_undefined = sum(not ((d < 0).any() and (d > 0).any()) for d in draws)
    assert 0 < num_undefined < 40
    assert f"not defined (NaN) in {num_undefined} of 40 draws" in caplog.text


def test_interval_of_an_array_of_which_nothing_counts_is_an_array_of_nan():
    metric = metrics.Bootstrap(metric=_MeansBySign(x="x"), num_resamples=3)
    value = metric(x=np.array([-1.0, 2.0]), mask=np.zeros(2))
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(value[name], [np.nan, np.nan])
