"""Closed-form ridge regression to one-hot targets, for many strengths at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The bias is a feature of this value: so large that it is hardly penalised.
BIAS = 100.0


def accuracies(
    train: tuple[np.ndarray, np.ndarray],
    tests: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    num_classes: int,
    l2_regs: Sequence[float],
) -> np.ndarray:
    """Returns the accuracy on each test set of each regulariser, `f64[l2_regs tests]`.

    Features are whitened with the mean and standard deviation of the training set, and
    get a bias feature. Minimised is `|X w - y|^2 + l2 |w|^2`, `y` being 1 for the class
    of the example and -1 for the others. All in f64.

    Args:
      train: Features `f[n d]` and labels `i[n]` in `[0, num_classes)`.
      tests: As many features and labels of others.
      num_classes: Number of classes.
      l2_regs: Strengths, > 0.
    """
    features, labels = train
    mean, std = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    x = _whiten(features, mean, std)
    y = 2.0 * np.eye(num_classes)[labels] - 1.0
    whitened = [(_whiten(f, mean, std), ids) for f, ids in tests]
    # x = u s v^T, so that all strengths share one decomposition.
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    uy = u.T @ y
    found = []
    for l2 in l2_regs:
        weights = vt.T @ ((s / (s**2 + l2))[:, None] * uy)
        found.append([np.mean((f @ weights).argmax(1) == ids) for f, ids in whitened])
    return np.asarray(found)


def _whiten(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    whitened = (features - mean) / np.where(std == 0, 1.0, std)
    return np.concatenate([whitened, np.full((len(features), 1), BIAS)], axis=1)
