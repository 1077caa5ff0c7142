"""The Fréchet distance of one feature, a closed form: any dtype, masks, nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import metrics

_metric = metrics.FrechetDistance(preds="p", targets="t")
_preds = np.array([1, 5, 2, 120, 9, 3, 100, 4])[:, None]
_targets = np.array([7, 1, 1, 3, 60, 2, 8, 110])[:, None]


def _distance(a, b):
    """Of normal distributions of one number: that of the means and of the spreads."""
    return (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "int32", "int64", "bfloat16", "float16"],
)
def test_features_of_any_dtype_are_the_numbers_they_are(dtype):
    preds, targets = (x.astype(jnp.dtype(dtype)) for x in (_preds, _targets))
    state = jax.jit(_metric.get_state)(preds=preds, targets=targets)
    np.testing.assert_allclose(state.compute(), _distance(_preds, _targets), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_masked_features_do_not_count_whatever_they_hold(dtype):
    mask = np.array([1, 1, 0, 1, 0, 1, 1, 1])[:, None].astype(dtype)
    preds, targets = (np.where(mask, x, np.nan) for x in (_preds, _targets))
    state = _metric.get_state(preds=preds, targets=targets, mask=mask)
    expected = _distance(_preds[mask != 0], _targets[mask != 0])
    np.testing.assert_allclose(state.compute(), expected, rtol=1e-5)


def test_distance_of_batches_of_any_size_is_that_of_all_features():
    a, b = (
        _metric.get_state(preds=_preds[at], targets=_targets[at])
        for at in (slice(0, 1), slice(1, 8))
    )
    expected = _distance(_preds, _targets)
    for state in (a.merge(b), b.merge(a), _metric.empty().merge(a).merge(b)):
        np.testing.assert_allclose(state.compute(), expected, rtol=1e-5)


def test_distance_of_nothing_and_of_what_is_not_finite_is_undefined():
    nothing = _metric.get_state(preds=_preds[:0], targets=_targets[:0])
    masked = _metric.get_state(preds=_preds, targets=_targets, mask=np.zeros((8, 1)))
    for state in (_metric.empty(), nothing, masked, nothing.merge(masked)):
        assert np.isnan(state.compute())
    for bad in (np.nan, np.inf):
        preds = np.where(np.arange(8)[:, None] == 3, bad, _preds)
        assert np.isnan(_metric(preds=preds, targets=_targets))
