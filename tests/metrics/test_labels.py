"""Class ids: compared as i32, ignored, masked out, or an error that names them."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import errors, kd, kontext, metrics

_INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


def _column(values, dtype="int32"):
    return np.array(values).astype(dtype)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FractionOfOne(metrics.Metric):
    """Fraction of labels that are 1, of three classes."""

    labels: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    ignored_label: int | None = None

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    def get_state(self, labels, mask=None):
        checked = metrics.check_labels(
            labels, num_classes=3, mask=mask, ignored_label=self.ignored_label
        )
        state = self.State.from_values(checked.ids == 1, mask=checked.mask)
        return state.replace(bad_labels=checked.bad_labels)


_metric = _FractionOfOne(labels="batch.label")
_jitted = jax.jit(lambda labels: _metric.get_state(labels=labels))


@pytest.mark.parametrize("dtype", _INTEGERS)
def test_ids_of_any_integers_are_compared_as_they_are(dtype):
    checked = metrics.check_labels(_column([0, 100, 2, 127], dtype), num_classes=101)
    assert checked.ids.dtype == jnp.int32
    np.testing.assert_array_equal(checked.ids[:, 0], [0, 100, 2, 0])
    np.testing.assert_array_equal(checked.is_bad[:, 0], [0, 0, 0, 1])
    np.testing.assert_array_equal(checked.mask[:, 0], [1, 1, 1, 0])


def test_booleans_are_classes_0_and_1():
    assert _metric(labels=np.array([[True], [False]])) == 0.5


@pytest.mark.parametrize("value", [2**32 + 1, 2**63 + 1, 2**31, -(2**32) + 1])
@pytest.mark.parametrize("is_on_device", [False, True])
def test_ids_beyond_int32_do_not_wrap_into_the_classes(value, is_on_device):
    labels = np.array([[value]], np.uint64 if value > 0 else np.int64)
    with jax.enable_x64(is_on_device):
        labels = jnp.asarray(labels) if is_on_device else labels
        with pytest.raises(metrics.LabelError, match=r"in \[0, 3\): got -?2147483"):
            _metric(labels=labels)


def test_unsigned_ids_on_a_device_do_not_wrap_into_the_classes():
    labels = jnp.array([[2**32 - 1]], jnp.uint32)
    with pytest.raises(metrics.LabelError, match=f"got {2**31 - 1}"):
        _jitted(labels).compute()


def test_an_ignored_label_is_compared_as_a_number():
    # As u8, -1 would be 255.
    checked = metrics.check_labels(
        np.array([255, 1], np.uint8), num_classes=2, ignored_label=-1
    )
    np.testing.assert_array_equal(checked.is_bad, [True, False])
    metric = dataclasses.replace(_metric, ignored_label=255)
    assert metric(labels=_column([255, 1, 0], "uint8")) == 0.5


@pytest.mark.parametrize("mask_dtype", ["bool", "int8", "bfloat16", "float32"])
def test_masked_labels_may_hold_anything(mask_dtype):
    mask = jnp.array([1, 0, 0, 1], mask_dtype)
    assert _metric(labels=_column([1, -1, 99, 0]), mask=mask) == 0.5


def test_labels_that_are_no_class_are_named_with_key_and_range():
    message = r"_FractionOfOne: 2 labels of `labels` \(key 'batch.label'\) must be in "
    message += r"\[0, 3\): got -7 to 3\..*`ignored_label=-7` or a mask"
    with pytest.raises(metrics.LabelError, match=message) as error:
        _metric(labels=_column([0, 3, 2, -7]))
    assert isinstance(error.value, errors.UserError)
    assert isinstance(error.value, ValueError)


def test_labels_of_a_jitted_evaluation_are_checked_at_its_end():
    good, low, high = (_jitted(_column(x)) for x in ([0, 1], [-2, 1], [3, 8]))
    assert good.merge(good).compute() == 0.5
    for merged in (
        good.merge(low).merge(high),
        low.merge(high.merge(good)),
        jax.jit(lambda a, b: a.merge(b))(high, low),
        _metric.empty().merge(high).merge(low).finalize(),
    ):
        with pytest.raises(metrics.LabelError, match=r"3 labels .* got -2 to 8"):
            merged.compute()


def test_states_with_and_without_a_record_merge():
    plain = metrics.AverageState(total=np.float32(1), count=np.float32(1))
    with pytest.raises(metrics.LabelError, match="1 label"):
        plain.merge(_jitted(_column([1, -1]))).compute()
    assert plain.merge(_jitted(_column([1, 0]))).compute() == 2 / 3


def test_records_of_single_examples_are_read_together():
    states = jax.vmap(_jitted)(np.array([[[1]], [[-3]], [[4]]]))
    with pytest.raises(metrics.LabelError, match=r"2 labels .* got -3 to 4"):
        states.compute()


def test_labels_without_a_number_of_classes_are_not_negative():
    checked = metrics.check_labels(np.array([-1, 0, 10**6]), num_classes=None)
    with pytest.raises(metrics.LabelError, match=r"must be >= 0: got -1"):
        checked.bad_labels.raise_if_any()


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(ValueError, match="`labels` must be integers: got float32"):
        _metric(labels=np.zeros((2, 1), np.float32))


@pytest.mark.usefixtures("unchecked")
def test_labels_that_are_no_integers_are_refused_with_a_remedy():
    keys = {"logits": "preds.logits", "labels": "batch.label"}
    metric = kd.metrics.Accuracy(**keys)
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(**keys)
    values = {"labels": np.zeros((2, 1), np.float32), "logits": np.zeros((2, 3))}
    remedy = r"Convert them with `kd\.data\.Cast\(key='label', dtype='int32'\)`\."
    with pytest.raises(ValueError, match=f"got float32. {remedy}"):
        metric(**values)
    with pytest.raises(ValueError, match=f"'batch.label' is float32. {remedy}"):
        loss(**values)
