"""How good predictions are: confusion, calibration, residuals, intervals.

NumPy alone, over what a run has written: no model is run for it.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

import numpy as np

_NUM_BINS = 10
_COVERAGES = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """How good predicted classes and their probabilities are.

    Attributes:
      confusion: `i[c c]`: how many examples of the class of the row were taken for the
        class of the column.
      log_loss: Mean negative logarithm of the probability of the true class, in nats.
      bin_confidences: Mean probability of the predicted class, of the examples in each
        of ten equally wide bins of it, `f[10]`; NaN where a bin is empty.
      bin_accuracies: How often that was the true class, `f[10]`.
      bin_counts: Examples in each bin.
      num_left_out: Examples without a label, which is a negative one.
    """

    confusion: np.ndarray
    log_loss: float
    bin_confidences: np.ndarray
    bin_accuracies: np.ndarray
    bin_counts: np.ndarray
    num_left_out: int = 0

    @property
    def num_examples(self) -> int:
        """How many have a label."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """How often the predicted class is the true one."""
        return float(np.trace(self.confusion) / max(self.num_examples, 1))

    @property
    def precision(self) -> np.ndarray:
        """Of the examples taken for a class, how many are of it, `f[c]`; 0 of none."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> np.ndarray:
        """Of the examples of a class, how many are taken for it, `f[c]`; 0 of none."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall, `f[c]`."""
        both = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return _ratio(2 * np.diag(self.confusion), both)

    @property
    def calibration_error(self) -> float:
        """Mean distance of confidence and accuracy in a bin, weighted by its examples."""
        gaps = np.abs(self.bin_confidences - self.bin_accuracies)
        return float(np.nansum(gaps * self.bin_counts) / max(self.num_examples, 1))

    def most_confused(self, count: int) -> list[tuple[int, int, int]]:
        """Returns the most frequent mistakes: true class, predicted class, how often."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, wrong.shape)
        found = zip(rows.tolist(), columns.tolist(), strict=True)
        return [(i, j, int(wrong[i, j])) for i, j in found if wrong[i, j]]

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "num_examples": self.num_examples,
            "num_left_out": self.num_left_out,
            "accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "calibration_error": self.calibration_error,
            "macro_f1": float(self.f1.mean()),
            "classes": {
                "precision": self.precision.tolist(),
                "recall": self.recall.tolist(),
                "f1": self.f1.tolist(),
                "num_examples": self.confusion.sum(axis=1).tolist(),
            },
            "confusion": self.confusion.tolist(),
            "calibration": {
                "confidence": _json_numbers(self.bin_confidences),
                "accuracy": _json_numbers(self.bin_accuracies),
                "num_examples": self.bin_counts.tolist(),
            },
        }


def judge_classes(logits: np.ndarray, labels: np.ndarray) -> Classification:
    """Returns how good predicted classes are.

    Args:
      logits: `f[n c]`, unnormalised log probabilities. Of one column, it is the log odds
        that the class is 1.
      labels: `i[n]`; negative where there is none.
    """
    logits = np.asarray(logits, np.float64)
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    is_labelled = labels >= 0
    logits, labels = logits[is_labelled], labels[is_labelled].astype(np.int64)
    num_classes = max(logits.shape[-1], int(labels.max(initial=0)) + 1)
    logprobs = logits - logits.max(axis=-1, keepdims=True)
    logprobs -= np.log(np.exp(logprobs).sum(axis=-1, keepdims=True))
    predicted = logits.argmax(axis=-1)
    confidences = np.exp(logprobs.max(axis=-1))
    pairs = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    is_known = labels < logits.shape[-1]
    of_true = np.where(
        is_known,
        logprobs[np.arange(len(labels)), np.where(is_known, labels, 0)],
        -np.inf,
    )
    edges = np.linspace(0, 1, _NUM_BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidences)
    counts = np.bincount(bins, minlength=_NUM_BINS)
    return Classification(
        confusion=pairs.reshape(num_classes, num_classes),
        log_loss=float(-of_true.mean()) if len(labels) else float("nan"),
        bin_confidences=_bin_means(bins, confidences, counts),
        bin_accuracies=_bin_means(bins, predicted == labels, counts),
        bin_counts=counts,
        num_left_out=int((~is_labelled).sum()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
    """How far predicted values are from the true ones.

    Attributes:
      mae: Mean of `|pred - target|`.
      rmse: Root of the mean of `(pred - target)**2`.
      bias: Mean of `pred - target`.
      r2: Share of the variance of the targets that is explained: the mean over columns.
      largest: The largest `|pred - target|`.
      num_examples: Rows.
      num_left_out: Rows with a prediction or target that is not finite.
    """

    mae: float
    rmse: float
    bias: float
    r2: float
    largest: float
    num_examples: int
    num_left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return dataclasses.asdict(self)


def judge_values(preds: np.ndarray, targets: np.ndarray) -> Regression:
    """Returns how good predicted values are.

    Args:
      preds: `f[n d]`.
      targets: `f[n d]`.
    """
    preds, targets = np.asarray(preds, np.float64), np.asarray(targets, np.float64)
    is_finite = np.isfinite(preds).all(axis=-1) & np.isfinite(targets).all(axis=-1)
    preds, targets = preds[is_finite], targets[is_finite]
    residuals = preds - targets
    if not residuals.size:
        nan = float("nan")
        return Regression(
            mae=nan,
            rmse=nan,
            bias=nan,
            r2=nan,
            largest=nan,
            num_examples=0,
            num_left_out=int((~is_finite).sum()),
        )
    unexplained = (residuals**2).sum(axis=0)
    total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    # As scikit-learn: a column that never varies is explained wholly, or not at all.
    r2 = np.where(
        total > 0,
        1 - unexplained / np.where(total > 0, total, 1),
        np.where(unexplained > 0, 0.0, 1.0),
    )
    return Regression(
        mae=float(np.abs(residuals).mean()),
        rmse=float(np.sqrt((residuals**2).mean())),
        bias=float(residuals.mean()),
        r2=float(r2.mean()),
        largest=float(np.abs(residuals).max()),
        num_examples=len(preds),
        num_left_out=int((~is_finite).sum()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals:
    """How often targets are in the intervals that were predicted.

    Attributes:
      nominal: How often they ought to be, `f[k]`; `None` if nothing says so.
      coverage: How often they are, `f[k]`.
      width: Mean width of the intervals, `f[k]`.
      log_loss: Mean negative logarithm of the normal density, in nats; `None` without a
        scale.
    """

    nominal: tuple[float, ...] | None
    coverage: tuple[float, ...]
    width: tuple[float, ...]
    log_loss: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return dataclasses.asdict(self)


def judge_scales(
    preds: np.ndarray, targets: np.ndarray, scales: np.ndarray
) -> Intervals:
    """Returns how often targets are in the central intervals of normal distributions.

    Args:
      preds: Means, `f[n d]`.
      targets: `f[n d]`.
      scales: Standard deviations, `f[n d]`.
    """
    distances = np.abs(preds - targets)
    coverage, width = [], []
    for nominal in _COVERAGES:
        reach = statistics.NormalDist().inv_cdf(0.5 + nominal / 2) * scales
        coverage.append(float((distances <= reach).mean()))
        width.append(float((2 * reach).mean()))
    nats = np.log(scales * np.sqrt(2 * np.pi)) + (distances / scales) ** 2 / 2
    return Intervals(
        nominal=_COVERAGES,
        coverage=tuple(coverage),
        width=tuple(width),
        log_loss=float(nats.mean()),
    )


def judge_bounds(
    targets: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> Intervals:
    """Returns how often targets are between bounds, all `f[n d]`."""
    is_inside = (lower <= targets) & (targets <= upper)
    return Intervals(
        nominal=None,
        coverage=(float(is_inside.mean()),),
        width=(float((upper - lower).mean()),),
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.maximum(denominator, 1)


def _bin_means(bins: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.bincount(bins, weights=values, minlength=_NUM_BINS)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _json_numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]
