"""Losses and metrics of volumes keep the contract of all losses and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.metrics import contract

losses, metrics = kd.volumes.losses, kd.volumes.metrics

_PAIR = {"preds": "p", "targets": "t"}
_LABELS = {"pred_labels": "p", "labels": "l", "classes": (1, 2)}


def _images(rng, num):
    a, b = rng.random((2, num, 4, 5, 3, 2)).astype(np.float32)
    return {"preds": a, "targets": b}


def _large(rng, num):
    a, b = rng.random((2, num, 2, 11, 12, 1)).astype(np.float32)
    return {"preds": a, "targets": b}


def _label_maps(rng, num):
    a, b = rng.integers(0, 3, (2, num, 3, 4, 5, 1)).astype(np.int32)
    return {"pred_labels": a, "labels": b}


def _fields(rng, num):
    return {"field": rng.normal(size=(num, 3, 4, 2, 3)).astype(np.float32)}


def _points(rng, num):
    a, b = rng.normal(size=(2, num, 5, 3)).astype(np.float32)
    return {"preds": a, "targets": b}


def _mae(m, preds, targets):
    values = np.abs(preds - targets).mean((1, 2, 3, 4))
    return np.asarray(np.average(values, weights=None if m is None else m[:, 0]))


def _smoothness(m, field):
    squares = [(np.diff(field, axis=i) ** 2).mean((1, 2, 3, 4)) for i in (1, 2, 3)]
    weights = None if m is None else m[:, 0]
    return np.asarray(np.average(np.mean(squares, axis=0), weights=weights))


Case = contract.Case
CASES = [
    Case(
        losses.MutualInformation(num_bins=8, **_PAIR),
        _images,
        is_fine_in_bf16=False,  # values on the border of a bin
    ),
    Case(losses.Mind(**_PAIR), _images, f32_rtol=1e-4),
    Case(losses.GradientSmoothness(field="x"), _fields, _smoothness),
    Case(metrics.Dice(**_LABELS), _label_maps),
    Case(metrics.Hausdorff(**_LABELS, percentile=95), _label_maps),
    Case(metrics.SurfaceDistance(**_LABELS), _label_maps),
    Case(metrics.SurfaceDice(**_LABELS), _label_maps),
    Case(metrics.MeanAbsoluteError(**_PAIR), _images, _mae),
    Case(metrics.MeanSquaredError(**_PAIR), _images),
    Case(metrics.Psnr(**_PAIR, data_range=1.0), _images),
    Case(metrics.Ssim(**_PAIR, data_range=1.0, window="2d"), _large, f32_rtol=1e-4),
    Case(metrics.Tre(**_PAIR), _points),
]


@pytest.mark.slow
@contract.laws(CASES, without="test_merging_inside_jit_equals_merging_outside")
class TestContract:
    pass
