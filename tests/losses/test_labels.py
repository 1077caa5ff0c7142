"""Labels of any dtype, ignored ones, and those that are no class."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from kauldron import losses, metrics
from tests.metrics import contract

_INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]
_INTEGERS += [np.int64, np.uint64]
_keys = {"logits": "preds.logits", "labels": "batch.label"}
_rng = np.random.default_rng(0)

# Loss, shape of the scores, shape of the labels, number of classes.
_MEMBERS = [
    (losses.SoftmaxCrossEntropyWithIntLabels(**_keys), (6, 200), (6, 1), 200),
    (losses.FocalLoss(**_keys), (6, 200), (6, 1), 200),
    (losses.MulticlassHinge(**_keys), (6, 200), (6, 1), 200),
    (losses.SigmoidBinaryCrossEntropy(**_keys), (6, 3), (6, 3), 2),
    (losses.SigmoidFocalLoss(**_keys), (6, 3), (6, 3), 2),
    (losses.Hinge(**_keys), (6, 3), (6, 3), 2),
    (losses.DiceLoss(**_keys), (6, 4, 200), (6, 4, 1), 200),
    (losses.TverskyLoss(activation="sigmoid", **_keys), (6, 4, 3), (6, 4, 3), 2),
    (losses.DiceLoss(activation="sigmoid", **_keys), (6, 4, 1), (6, 4, 1), 2),
]


def _values(calls, logits):
    """Returns the values of calls `(loss, inputs)`, compiled as one program."""

    def get_states(logits):
        return [loss.get_state(**{"logits": logits, **x}) for loss, x in calls]

    states = jax.jit(get_states, compiler_options=contract.COMPILE_FAST)(logits)
    return [state.compute() for state in states]


def _value(loss, logits, **inputs):
    return _values([(loss, inputs)], logits)[0]


_of_members = pytest.mark.parametrize(
    ("loss", "inputs", "num_classes"),
    [
        (
            loss,
            {
                "logits": _rng.normal(size=scores).astype(np.float32),
                "labels": _rng.integers(n, size=labels),
            },
            n,
        )
        for loss, scores, labels, n in _MEMBERS
    ],
    ids=[f"{type(m[0]).__name__}{len(m[1])}d" for m in _MEMBERS],
)


@_of_members
def test_labels_may_be_of_any_integer_dtype(loss, inputs, num_classes):
    dtypes = _INTEGERS if num_classes > 2 else [*_INTEGERS, bool, np.float32]
    # The last are beyond the range of i8, where arithmetic in such dtypes wraps.
    some, last = inputs["labels"] % 128, np.full_like(inputs["labels"], num_classes - 1)
    calls = [(loss, {"labels": some.astype(dtype)}) for dtype in dtypes]
    expected, *values = _values([(loss, {"labels": some}), *calls], inputs["logits"])
    assert values == [expected] * len(dtypes)
    wide = [d for d in dtypes if d not in (np.int8, bool)]
    calls = [(loss, {"labels": last.astype(dtype)}) for dtype in wide]
    expected, *values = _values([(loss, {"labels": last}), *calls], inputs["logits"])
    assert values == [expected] * len(wide)


@_of_members
def test_labels_that_are_no_class_are_named_eagerly_and_nan_inside_jit(
    loss, inputs, num_classes
):
    logits, labels = inputs["logits"], inputs["labels"].astype(np.int32)

    def measure(labels):
        state = loss.get_state(logits=logits, labels=labels)
        gradient = jax.grad(lambda x: loss(logits=x, labels=labels))(logits)
        # A wrong label must not go by unseen between two steps that are logged.
        return state, state.mean(), loss(logits=logits, labels=labels), gradient.sum()

    measure = jax.jit(measure, compiler_options=contract.COMPILE_FAST)
    fine, *_ = measure(labels)
    for bad in (-1, num_classes, 10**6):
        wrong = labels.copy()
        wrong[2] = bad
        message = rf"'batch.label'\) must be in \[0, {num_classes}\): got {bad}\."
        state, *values = measure(wrong)
        assert np.isnan(values).all()
        for poisoned in (state, state.merge(fine), fine.merge(state)):
            with pytest.raises(metrics.LabelError, match=message):
                poisoned.compute()
            with pytest.raises(metrics.LabelError, match=message):
                poisoned.compute_raw()
    with pytest.raises(metrics.LabelError, match=message) as info:
        loss(logits=logits, labels=wrong)
    assert type(loss).__name__ in str(info.value)
    assert np.isfinite(fine.merge(fine).compute())


@_of_members
def test_labels_that_are_masked_or_ignored_may_hold_anything(loss, inputs, num_classes):
    logits, labels = inputs["logits"], inputs["labels"].astype(np.int32)
    keep = np.array([True, True, False, True, False, True])
    masked, ignored = [], []
    for bad in (-1, num_classes, 2**31 - 1):
        wrong = labels.copy()
        wrong[~keep] = bad
        masked.append((loss, {"labels": wrong, "mask": keep[:, None]}))
        if isinstance(loss, losses.DiceLoss | losses.TverskyLoss):
            # Places are ignored, not whole images.
            wrong = np.where(np.arange(4)[:, None] == 1, bad, labels)
        ignoring = dataclasses.replace(loss, ignored_label=bad)
        ignored.append((ignoring, {"labels": wrong}))
    expected = _value(loss, logits[keep], labels=labels[keep])
    values = _values(masked, logits)
    np.testing.assert_allclose(values, [expected] * 3, rtol=1e-6)
    if isinstance(loss, losses.DiceLoss | losses.TverskyLoss):
        region = np.broadcast_to(np.arange(4) != 1, (6, 4))
        expected = _value(loss, logits, labels=labels, region_mask=region)
    values = _values(ignored, logits)
    np.testing.assert_allclose(values, [expected] * 3, rtol=1e-6)


@_of_members
def test_ignored_places_hold_back_their_scores(loss, inputs, num_classes):
    loss = dataclasses.replace(loss, ignored_label=-1)
    is_ignored = np.zeros(inputs["labels"].shape, bool)
    is_ignored[1], is_ignored[3] = True, True
    labels = np.where(is_ignored, -1, inputs["labels"])
    spoilt = np.where(is_ignored, np.nan, inputs["logits"]).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: loss(logits=x, labels=labels)))
    grad, expected = jax.device_get((gradient(spoilt), gradient(inputs["logits"])))
    np.testing.assert_array_equal(grad, expected)
    keep = np.array([0, 2, 4, 5])
    np.testing.assert_array_equal(grad[~np.isin(np.arange(6), keep)], 0)
    assert np.isfinite(grad).all()
    assert (grad[keep] != 0).any()


def test_an_ignored_label_may_be_a_class():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(ignored_label=0, **_keys)
    logits, labels = _rng.normal(size=(5, 3)), np.array([0, 1, 2, 0, 1])[:, None]
    keep = labels[:, 0] > 0
    expected = _value(loss, logits[keep], labels=labels[keep])
    np.testing.assert_allclose(_value(loss, logits, labels=labels), expected, rtol=1e-6)


def test_ignored_probabilities_do_not_count():
    loss = losses.SigmoidBinaryCrossEntropy(ignored_label=-1, **_keys)
    logits = _rng.normal(size=(2, 3)).astype(np.float32)
    labels = np.array([[0.5, -1, 1], [-1, 0.25, 0]], np.float32)
    expected = _value(loss, logits, labels=abs(labels), mask=labels >= 0)
    np.testing.assert_allclose(_value(loss, logits, labels=labels), expected, rtol=1e-6)
    mask = np.array([1, 0])
    both = _value(
        loss, logits=logits, labels=abs(labels), mask=(labels >= 0) * mask[:, None]
    )
    value = _value(loss, logits, labels=labels, mask=mask)
    np.testing.assert_allclose(value, both, rtol=1e-6)


def test_nothing_but_ignored_labels_is_no_loss():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(ignored_label=-1, **_keys)
    logits, labels = _rng.normal(size=(5, 3)).astype(np.float32), np.full((5, 1), -1)
    assert _value(loss, logits, labels=labels) == 0
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda x: loss(logits=x, labels=labels))
    )
    value, grad = value_and_grad(logits)
    assert value == 0
    np.testing.assert_array_equal(grad, 0)
    assert loss.empty().compute() == 0


def test_ignoring_and_a_mask_with_weights_work_together():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(ignored_label=2, **_keys)
    logits, labels = _rng.normal(size=(4, 3)), np.array([0, 1, 2, 7])[:, None]
    each = [_value(loss, logits[i : i + 1], labels=labels[i : i + 1]) for i in (0, 1)]
    value = _value(
        loss, logits=logits, labels=labels, mask=np.array([0.5, 0.25, 1.0, 0.0])
    )
    np.testing.assert_allclose(value, (2 * each[0] + each[1]) / 3, rtol=1e-6)


def test_labels_outside_of_a_region_may_hold_anything():
    loss = losses.DiceLoss(region_mask="r", **_keys)
    logits = _rng.normal(size=(2, 5, 3)).astype(np.float32)
    labels = np.array([[0, 1, 2, 9, 9], [2, 1, 0, -1, -1]])[..., None]
    region = np.broadcast_to(np.arange(5) < 3, (2, 5))
    value = _value(loss, logits, labels=labels, region_mask=region)
    expected = _value(loss, logits[:, :3], labels=labels[:, :3])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    with pytest.raises(metrics.LabelError, match="got 9"):
        _value(loss, logits[:1], labels=labels[:1], region_mask=np.ones((1, 5)))


def test_relevances_may_be_of_any_integer_dtype():
    loss = losses.PairwiseRanking(**_keys)
    logits, labels = _rng.normal(size=(2, 4)), np.array([[3, 0, 1, 2], [0, 200, 0, 1]])
    expected = _value(loss, logits, labels=labels.astype(np.float64))
    for dtype in (np.uint8, np.int16, np.int64, np.float32):
        value = _value(loss, logits, labels=labels.astype(dtype))
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_total_of_losses_with_labels_of_no_class_is_nan_and_the_states_say_why():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(**_keys)
    other = losses.L2(preds="preds.logits", targets="preds.logits")
    context = {
        "preds": {"logits": np.ones((2, 3), np.float32)},
        "batch": {"label": np.array([[0], [3]])},
        "step": 0,
    }
    tree = {"xent": loss, "l2": other}
    total, states = jax.jit(lambda c: losses.compute_losses(tree, c))(context)
    assert np.isnan(total)
    assert states["l2"].compute() == 0
    with pytest.raises(metrics.LabelError, match="key 'batch"):
        states["xent"].compute()


def test_labels_without_a_mask_add_no_arithmetic_in_floating_point():
    loss = losses.SoftmaxCrossEntropyWithIntLabels(**_keys)
    logits, labels = np.ones((8, 5), np.float32), np.zeros((8, 1), np.int32)

    def transcendentals(function):
        gradient = jax.jit(jax.grad(function), compiler_options=contract.COMPILE_FAST)
        cost = gradient.lower(logits).compile().cost_analysis()
        return cost["transcendentals"]

    ours = transcendentals(lambda x: loss(logits=x, labels=labels))
    plain = transcendentals(lambda x: loss.get_values(x, labels).mean())
    assert ours == plain


@pytest.mark.parametrize(
    "measure",
    [losses.SoftmaxCrossEntropyWithIntLabels, metrics.Accuracy, metrics.RocAuc],
)
@pytest.mark.usefixtures("unchecked")
def test_the_last_axis_is_advised_only_where_it_is_what_is_missing(measure):
    measure = measure(logits="preds.logits", labels="batch.digit")
    with pytest.raises(ValueError, match=r"key='digit', pattern='\.\.\. -> \.\.\. 1'"):
        measure(logits=np.zeros((8, 3)), labels=np.zeros(8, int))
    with pytest.raises(ValueError, match=r"\(1, 8") as error:
        measure(logits=np.zeros((1, 8, 3)), labels=np.zeros((8, 1), int))
    assert "Rearrange" not in str(error.value)
