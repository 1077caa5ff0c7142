"""Fréchet distance between feature distributions."""

from __future__ import annotations

import dataclasses
from typing import Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, sharding
from kauldron.ktyping import Array, Float, typechecked
from kauldron.metrics import arrays, auto_state, base, base_state, exact_sums


@flax.struct.dataclass
class CovarianceState(base_state.State):
    """Weight, mean, and sum of outer products of differences from the mean.

    Attributes:
      count: Sum of the weights.
      mean: Weighted mean; without an axis as long as nothing was counted.
      scatter: Sum of `(x - mean) (x - mean)^T`.
    """

    count: Float["*b"]
    mean: Float["*b n?"]
    scatter: Float["*b n? n?"]

    @classmethod
    def empty(cls) -> Self:
        return cls(*(np.zeros((), np.float32),) * 3)

    @classmethod
    @typechecked
    def from_values(
        cls, values: Array["*b n"], *, mask: Array | float | None = None
    ) -> Self:
        """Returns the moments of vectors `Array["*b n"]`, weighted by a mask
        `Array["*b 1"]`."""
        values = arrays.to_float(values)
        mask = jnp.ones((1,) * values.ndim) if mask is None else mask
        weights = base_state.broadcast_mask(mask, (*values.shape[:-1], 1))
        weights = weights.astype(values.dtype).reshape(-1, 1)
        values = values.reshape(-1, values.shape[-1])
        values = jnp.where(weights == 0, 0, values)
        count = weights.sum()
        total = (weights * values).sum(axis=0, keepdims=True)
        mean = total / jnp.where(count == 0, 1, count)
        centred = (values - mean) * jnp.sqrt(weights)
        # Not in half precision: the distance is a small difference of traces.
        scatter = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST)
        return cls(count, mean[0], scatter)

    def merge(self, other: Self) -> Self:
        both = [(s.count, s.mean, s.scatter) for s in (self, other)]
        if not exact_sums.is_traced(both):
            both = jax.tree.map(
                lambda x: np.asarray(x, np.float64), sharding.to_host(both)
            )
        (n_a, mean_a, s_a), (n_b, mean_b, s_b) = both
        count = n_a + n_b
        share = n_b / (count + (count == 0).astype(count.dtype))
        step = mean_b - mean_a
        outer = step[..., :, None] * step[..., None, :] if step.ndim else 0.0
        return dataclasses.replace(
            self,
            count=count,
            mean=mean_a + step * share,
            scatter=s_a + s_b + outer * (n_a * share),
        )

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean `Float64["n"]` and covariance `Float64["n n"]` (divided by
        `count - 1`).

        Of a single example, the covariance is 0; of none, both are NaN.
        """
        state = sharding.to_host((self.count, self.mean, self.scatter))
        count, mean, scatter = (np.asarray(x, np.float64) for x in state)
        if not count:
            return np.full_like(mean, np.nan), np.full_like(scatter, np.nan)
        return mean, scatter / np.maximum(count - 1, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetDistance(base.Metric):
    """Distance of two sets of features, each taken for a normal distribution.

    Of features of an Inception network this is the FID. It depends on the number of
    examples: compare only values from as many, and from more than there are features.
    NaN if a feature is not finite, or there are no examples.

    Attributes:
      preds: Key to features of generated examples, `Float["*b n"]`.
      targets: Key to features of real examples, `Float["*b n"]`.
      mask: Key to weights of both, `Array["*b 1"]`.

    Raises:
      ValueError: If the numbers of features differ.

    Reference: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, eq. 6,
    arXiv:1706.08500.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(auto_state.AutoState):
        preds: CovarianceState = auto_state.state_field()
        targets: CovarianceState = auto_state.state_field()

        def compute(self) -> np.ndarray:
            if self.preds is auto_state.EMPTY:
                return np.full((), np.nan)
            return frechet_distance(*self.preds.moments(), *self.targets.moments())

    @typechecked
    def get_state(
        self,
        preds: Array["*a n"],
        targets: Array["*b n"],
        mask: Array | float | None = None,
    ) -> State:
        if preds.shape[-1] != targets.shape[-1]:
            raise ValueError(
                "FrechetDistance needs as many features of both: got "
                f"{preds.shape} (key {self.preds!r}) and {targets.shape} (key "
                f"{self.targets!r})."
            )
        return self.State(
            preds=CovarianceState.from_values(preds, mask=mask),
            targets=CovarianceState.from_values(targets, mask=mask),
        )


def frechet_distance(
    mean1: Float["n?"],
    covariance1: Float["n? n?"],
    mean2: Float["n?"],
    covariance2: Float["n? n?"],
) -> Float[""]:
    """Returns `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` in f64; NaN if one is NaN."""
    moments = (mean1, covariance1, mean2, covariance2)
    if not all(np.isfinite(x).all() for x in moments):
        return np.full((), np.nan)  # without eigenvalues, LAPACK would give up
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # C1 C2 has the eigenvalues of this symmetric matrix, whose root is well defined.
    squares = np.linalg.eigvalsh(root @ covariance2 @ root)
    trace_of_root = np.sqrt(np.maximum(squares, 0)).sum()
    difference = mean1 - mean2
    traces = np.trace(covariance1) + np.trace(covariance2)
    return difference @ difference + traces - 2 * trace_of_root
