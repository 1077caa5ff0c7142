"""Members x dtypes: every loss, of every dtype of scores, labels and masks, in f64."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses.test_contract import CASES
from tests.metrics import contract

_INTEGERS = ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64"]
_DTYPES = [*_INTEGERS, "bool", "bfloat16", "float16", "float32"]
# Distributions are not integers; distances of equal points have an epsilon of optax; the
# windows of an image of two values are flat.
_FLOAT_ONLY = ("SoftmaxCrossEntropy", "KLDivergence", "TripletMargin")
_FLOAT_ONLY += ("NormalizedCrossCorrelation",)
_NUM = 8


def _cast(x, dtype):
    """Returns numbers of a dtype that are no zeros, as directions need."""
    if jnp.issubdtype(dtype, jnp.floating):
        return np.asarray(x).astype(jnp.dtype(dtype))
    if dtype == "bool":
        return x > -1
    x = np.sign(x) * np.ceil(np.abs(x))
    return np.abs(x).astype(dtype) if dtype.startswith("u") else x.astype(dtype)


def _inputs(case, dtype):
    """Returns scores of a dtype and labels of it, as far as these make sense."""
    is_float = jnp.issubdtype(dtype, jnp.floating)
    of_scores = "float32" if case.name in _FLOAT_ONLY and not is_float else dtype
    of_labels = "int32" if is_float or dtype == "bool" else dtype
    inputs = case.inputs(np.random.default_rng(3), _NUM)
    for name, x in inputs.items():
        is_distribution = contract.is_float(x) and np.allclose(x.sum(-1), 1)
        if not is_distribution:
            scores = contract.is_float(x)
            inputs[name] = _cast(x, of_scores) if scores else x.astype(of_labels)
    return inputs


def _in_f64(inputs):
    is_id = {k: k == "labels" and v.dtype.kind in "iu" for k, v in inputs.items()}
    return {
        k: v.astype(np.int64 if is_id[k] else np.float64) for k, v in inputs.items()
    }


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_every_dtype_gives_the_value_of_the_same_numbers_in_f64(case):
    masks = itertools.cycle(_DTYPES)
    batches, expected = [], []
    for dtype, mask_dtype in zip(_DTYPES, masks, strict=False):
        inputs = _inputs(case, dtype)
        in_f64 = _in_f64(inputs)
        mask = np.array([1, 0, 1, 1, 0, 1, 1, 0]).reshape(_NUM, *case.mask_shape)
        batches += [inputs, {**inputs, "mask": mask.astype(jnp.dtype(mask_dtype))}]
        expected += [case.oracle(None, **in_f64), case.oracle(mask > 0, **in_f64)]

    def measure():
        return [case.metric.get_state(**batch) for batch in batches]

    states = jax.jit(measure, compiler_options=contract.COMPILE_FAST)()
    values = [state.compute() for state in states]
    names = [f"{d}{m}" for d in _DTYPES for m in ("", " masked")]
    wrong = {
        name: (value, right)
        for name, value, right in zip(names, values, expected, strict=True)
        if not np.isclose(value, right, rtol=2e-5, atol=2e-5)
    }
    assert not wrong


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_an_empty_batch_is_no_loss(case):
    empty = {k: v[:0] for k, v in _inputs(case, "float32").items()}
    states = jax.jit(
        lambda: [
            case.metric.get_state(**empty),
            case.metric.get_state(**empty, mask=np.zeros((0, *case.mask_shape))),
        ],
        compiler_options=contract.COMPILE_FAST,
    )()
    assert [state.compute() for state in states] == [0, 0]
    assert [state.mean() for state in states] == [0, 0]


@pytest.mark.parametrize(
    "case", [c for c in CASES if "labels" in c.whole], ids=lambda c: c.name
)
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_is_fine(case, label):
    inputs = _inputs(case, "float32")
    if not np.issubdtype(inputs["labels"].dtype, np.integer):
        inputs["labels"] = np.zeros_like(inputs["labels"])
        inputs["labels"][..., label] = 1
    else:
        inputs["labels"] = np.full_like(inputs["labels"], label)
    state = case.jitted(inputs)
    expected = case.oracle(None, **_in_f64(inputs))
    np.testing.assert_allclose(state.compute(), expected, rtol=2e-5, atol=2e-6)
