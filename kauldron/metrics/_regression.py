"""Regression errors, explained variance, standard deviations, single entries."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, sharding
from kauldron.ktyping import Array, Float, Scalar, typechecked
from kauldron.metrics import arrays, auto_state, base, base_state, exact_sums


@flax.struct.dataclass
class MomentsState(base_state.State):
    """Weight, mean, and sum of squared differences from the mean.

    Merged as in Chan et al. 1979: no difference of large squares, which f32 would lose.

    Attributes:
      count: Sum of the weights.
      mean: Weighted mean.
      sum_of_squares: Weighted sum of `(x - mean)**2`.
    """

    count: Float["*n"]
    mean: Float["*n"]
    sum_of_squares: Float["*n"]

    @classmethod
    def empty(cls) -> Self:
        return cls(*(np.zeros((), np.float32),) * 3)

    @classmethod
    @typechecked
    def from_values(
        cls, values: Array | Scalar, *, mask: Array | float | None = None
    ) -> Self:
        """Returns the moments of all elements where `mask` is set."""
        values = arrays.to_float(values)
        mask = jnp.ones((1,) * values.ndim) if mask is None else mask
        weights = base_state.broadcast_mask(mask, values.shape).astype(values.dtype)
        count = weights.sum()
        # From one of the values on: the spread of equal ones is 0, not their rounding.
        origin = jnp.where(weights == 0, -jnp.inf, values).max(initial=-jnp.inf)
        origin = jnp.where(jnp.isfinite(origin), origin, 0)
        values = jnp.where(weights == 0, 0, values - origin)
        mean = (weights * values).sum() / jnp.where(count == 0, 1, count)
        spread = (weights * (values - mean) ** 2).sum()
        return cls(count, origin + mean, spread)

    def merge(self, other: Self) -> Self:
        (n_a, mean_a, s_a), (n_b, mean_b, s_b) = self._moments(other)
        count = n_a + n_b
        share = n_b / (count + (count == 0).astype(count.dtype))
        step = mean_b - mean_a
        return dataclasses.replace(
            self,
            count=count,
            mean=mean_a + step * share,
            sum_of_squares=s_a + s_b + step**2 * n_a * share,
        )

    def compute(self) -> np.ndarray:
        """Returns the standard deviation, with the number of elements below.

        NaN without any.
        """
        moments = sharding.to_host((self.count, self.sum_of_squares))
        count, squares = (np.asarray(x, np.float64) for x in moments)
        return np.sqrt(squares / count) if count != 0 else np.full((), np.nan)

    def _moments(self, other: Self) -> list[tuple[Any, Any, Any]]:
        both = [(s.count, s.mean, s.sum_of_squares) for s in (self, other)]
        if exact_sums.is_traced(both):
            return both
        both = sharding.to_host(both)
        return jax.tree.map(lambda x: np.asarray(x, np.float64), both)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Error(base.Metric):
    preds: kontext.Key = kontext.REQUIRED
    targets: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    State: ClassVar[Any] = base_state.AverageState

    @typechecked
    def get_state(
        self,
        preds: Array["*a"],
        targets: Array["*a"],
        mask: Array | float | None = None,
    ) -> Any:
        arrays.check_same_shape(self, preds=preds, targets=targets)
        return self._measure(arrays.to_float(preds), arrays.to_float(targets), mask)

    def _measure(
        self, preds: Float["*a"], targets: Float["*a"], mask: Array | float | None
    ) -> Any:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(_Error):
    """Mean of `|preds - targets|` over all elements.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    def _measure(
        self, preds: Float["*a"], targets: Float["*a"], mask: Array | float | None
    ) -> Any:
        return self.State.from_values(jnp.abs(preds - targets), mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSquaredError(_Error):
    """Mean of `(preds - targets)**2` over all elements.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    def _measure(
        self, preds: Float["*a"], targets: Float["*a"], mask: Array | float | None
    ) -> Any:
        return self.State.from_values(jnp.square(preds - targets), mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean of `(preds - targets)**2` over all elements of all batches.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    @flax.struct.dataclass
    class State(base_state.AverageState):
        def compute(self) -> np.ndarray:
            return np.sqrt(super().compute())


@dataclasses.dataclass(frozen=True, kw_only=True)
class R2Score(_Error):
    """Share of the variance of the targets that the predictions account for.

    `1 - sum((targets - preds)**2) / sum((targets - mean)**2)`, over all elements
    together. Targets that are all equal have no variance to account for: NaN.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    @flax.struct.dataclass
    class State(auto_state.AutoState):
        errors: Float["*n"] = auto_state.sum_field()
        targets: MomentsState = auto_state.state_field()

        def compute(self) -> np.ndarray:
            if self.targets is auto_state.EMPTY:
                return np.full((), np.nan)
            return _explained(self.errors, self.targets.sum_of_squares)

    def _measure(
        self, preds: Float["*a"], targets: Float["*a"], mask: Array | float | None
    ) -> Any:
        errors = base_state.AverageState.from_values((targets - preds) ** 2, mask=mask)
        moments = MomentsState.from_values(targets, mask=mask)
        return self.State(errors=errors.total, targets=moments)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedVariance(_Error):
    """As `R2Score`, with the variance of the errors: a constant offset costs nothing.

    NaN where the targets are all equal.

    Attributes:
      preds: Key to predictions, `Float["*a"]`.
      targets: Key to targets of the same shape.
      mask: Key to weights; trailing axes may be missing, axes may be 1.
    """

    @flax.struct.dataclass
    class State(auto_state.AutoState):
        errors: MomentsState = auto_state.state_field()
        targets: MomentsState = auto_state.state_field()

        def compute(self) -> np.ndarray:
            if self.targets is auto_state.EMPTY:
                return np.full((), np.nan)
            return _explained(self.errors.sum_of_squares, self.targets.sum_of_squares)

    def _measure(
        self, preds: Float["*a"], targets: Float["*a"], mask: Array | float | None
    ) -> Any:
        return self.State(
            errors=MomentsState.from_values(targets - preds, mask=mask),
            targets=MomentsState.from_values(targets, mask=mask),
        )


def _explained(errors: Array | Scalar, total: Array | Scalar) -> np.ndarray:
    errors, total = (
        np.asarray(x, np.float64) for x in sharding.to_host((errors, total))
    )
    return np.full((), np.nan) if total == 0 else 1 - errors / total


@dataclasses.dataclass(frozen=True, kw_only=True)
class Std(base.Metric):
    """Standard deviation of all elements of all batches together.

    Attributes:
      values: Key to values, `Float["*b n"]`.
      mask: Key to weights; trailing axes may be missing, axes may be 1.

    Raises:
      ValueError: If the values have no axis.
    """

    values: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None

    State = MomentsState

    @typechecked
    def get_state(
        self, values: Array["*b n"], mask: Array | float | None = None
    ) -> MomentsState:
        if not jnp.ndim(values):
            raise ValueError("Std needs values with at least one axis: got a scalar.")
        return self.State.from_values(values, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SingleDimension(base.Metric):
    """Mean of one entry of the last axis.

    Attributes:
      tensor: Key to values, `Float["*b n"]`.
      index: Which entry; `None` if the last axis has only one.
      mask: Key to weights, `Array["*b"]`; trailing axes may be missing.

    Raises:
      ValueError: If there is no such entry.
    """

    tensor: kontext.Key = kontext.REQUIRED
    index: int | None = 0
    mask: kontext.Key | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self, tensor: Array["*b n"], mask: Array | float | None = None
    ) -> State:
        size = tensor.shape[-1] if jnp.ndim(tensor) else 0
        index = 0 if self.index is None else self.index
        if not -size <= index < size or (self.index is None and size != 1):
            raise ValueError(
                f"SingleDimension(index={self.index}) does not fit the last axis: key "
                f"{self.tensor!r} has shape {jnp.shape(tensor)}."
            )
        return self.State.from_values(tensor[..., index], mask=mask)
