"""Vector norms."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal, Self

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, PyTree, Scalar, typechecked
from kauldron.metrics import arrays, base, base_state, exact_sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class Norm(base.Metric):
    """Norm of vectors along an axis, averaged over everything else.

    Attributes:
      tensor: Key to an array of any shape.
      mask: Key to weights of the norms; fits the tensor without `axis`.
      axis: Axis (or pair of axes, for a matrix norm) of the vectors; `None` takes the
        whole array as one vector.
      ord: Order, as in `jnp.linalg.norm`; `None` is the Euclidean (Frobenius) norm.
      aggregation_type: `'average'`: mean of the norms. `'concat'`: norm of all merged
        vectors laid end to end (needs a finite `ord` and no mask). `None` is
        `'average'`, with a warning if whole-array norms are merged, where it is
        ambiguous.
    """

    tensor: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    axis: int | tuple[int, int] | None = -1
    ord: int | float | str | None = None
    aggregation_type: Literal["average", "concat"] | None = None

    def __post_init__(self) -> None:
        if self.aggregation_type not in (None, "average", "concat"):
            raise ValueError(
                "`aggregation_type` must be 'average', 'concat' or None: got "
                f"{self.aggregation_type!r}."
            )
        if self.aggregation_type == "concat" and (
            not isinstance(self._order, int | float)
            or not np.isfinite(self._order)
            or self._order <= 0
        ):
            raise ValueError(
                "`aggregation_type='concat'` adds up |x|**ord and needs a positive, "
                f"finite `ord`: got ord={self.ord!r}."
            )

    @property
    def _order(self) -> Any:
        return 2 if self.ord is None else self.ord

    @flax.struct.dataclass
    class State(base_state.AverageState["Norm"]):
        def merge(self, other: Self) -> Self:
            metric = self.parent
            if (
                isinstance(metric, Norm)
                and metric.axis is None
                and metric.aggregation_type is None
            ):
                warnings.warn(
                    "Norms of whole arrays are averaged on merging. Say which is meant "
                    "by Norm(aggregation_type='average') or 'concat'.",
                    UserWarning,
                    stacklevel=2,
                )
            return super().merge(other)

    @flax.struct.dataclass
    class ConcatState(base_state.State["Norm"]):
        """Sum of `|x|**ord`; the value is its root."""

        sum_of_powers: Float["*n"]

        @classmethod
        def empty(cls) -> Self:
            return cls(sum_of_powers=np.zeros((), np.float32))

        def merge(self, other: Self) -> Self:
            total = exact_sums.add(self.sum_of_powers, other.sum_of_powers)
            return type(self)(sum_of_powers=total)

        def compute(self) -> np.ndarray:
            return np.asarray(self.sum_of_powers) ** (1 / self.parent._order)

    def empty(self) -> base_state.State:
        concat = self.aggregation_type == "concat"
        return (self.ConcatState if concat else self.State).empty()

    @typechecked
    def get_state(
        self, tensor: Array | Scalar, mask: Array | float | None = None
    ) -> base_state.State:
        x = arrays.to_float(tensor)
        if self.aggregation_type == "concat":
            if mask is not None:
                raise ValueError("Norm(aggregation_type='concat') takes no mask.")
            return self.ConcatState(sum_of_powers=(jnp.abs(x) ** self._order).sum())
        if self.axis is None and self.ord is not None:
            x = x.ravel()
        norms = jnp.linalg.norm(x, ord=self.ord, axis=self.axis)
        return self.State.from_values(norms, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalNorm(base.Metric):
    """Euclidean norm of all arrays of a tree as one vector; of the gradients by default.

    The mean of the norms of the batches that are merged.

    Attributes:
      tree: Key to an array, or to a tree of arrays, of any shapes.

    Example:

    ```python
    train_metrics = {
        "grad_norm": kd.metrics.GlobalNorm(),
        "update_norm": kd.metrics.GlobalNorm(tree="updates"),
    }
    ```
    """

    tree: kontext.Key = "grads"

    @flax.struct.dataclass
    class State(base_state.AverageState["GlobalNorm"]):
        pass

    @typechecked
    def get_state(self, tree: PyTree[Array | Scalar]) -> base_state.State:
        leaves = map(arrays.to_float, jax.tree.leaves(tree))
        squares = [jnp.sum(jnp.abs(x) ** 2) for x in leaves]
        return self.State.from_values(jnp.sqrt(sum(squares)))
