"""Vector metrics: directions and moments."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineSimilarity(metrics.Metric):
    """Mean cosine of the angle between two vectors, in [-1, 1].

    A vector of length 0 has the similarity 0 with every other.

    Attributes:
      preds: Key to vectors, `Float["*b n"]`.
      targets: Key to vectors of the same shape.
      mask: Key to weights, `Array["*b"]` or `Array["*b 1"]`.
      axis: Axis of the components.

    Raises:
      ValueError: If the shapes differ.
    """

    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    axis: int = -1

    @flax.struct.dataclass
    class State(metrics.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        preds: Array["*b n"],
        targets: Array["*b n"],
        mask: Array | float | None = None,
    ) -> State:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        a, b = (arrays.to_float(x) for x in (preds, targets))
        # Divided by their largest entry first: squares of large ones would overflow.
        a, b = (
            x / _nonzero(jnp.abs(x).max(axis=self.axis, keepdims=True)) for x in (a, b)
        )
        dot = (a * b).sum(axis=self.axis)
        norms = [jnp.sqrt((x * x).sum(axis=self.axis)) for x in (a, b)]
        values = dot / _nonzero(norms[0]) / _nonzero(norms[1])
        return self.State.from_values(values, mask=mask)


def _nonzero(x: Array) -> Any:
    return jnp.where(x == 0, 1, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanCov(metrics.Metric):
    """Mean and covariance of vectors over the whole dataset.

    Merged as in Chan et al. 1979, without differences of large squares.

    Attributes:
      values: Key to vectors, `Float["*b n"]`.
      mask: Key to weights, `Array["*b 1"]`.

    Returns of `compute`: `{'mean': Float64["n"], 'cov': Float64["n n"]}`, the
    covariance divided by the number of vectors less one; `{}` if there were none.
    """

    values: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(metrics.CovarianceState):
        """Weight, mean, and sum of outer products of differences from the mean."""

        def compute(self) -> dict[str, np.ndarray]:
            mean, cov = self.moments()
            return {"mean": mean, "cov": cov} if mean.ndim else {}

    @typechecked
    def get_state(
        self, values: Array["*b n"], mask: Array | float | None = None
    ) -> State:
        if jnp.ndim(values) < 1:
            raise ValueError(
                f"MeanCov needs vectors `f[*b n]`: key {self.values!r} is a scalar."
            )
        return self.State.from_values(values, mask=mask)
