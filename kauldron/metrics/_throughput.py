"""Throughput: items processed per second."""

from __future__ import annotations

import dataclasses

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron.ktyping import Array, Float, Int, typechecked
from kauldron.metrics import auto_state, base, base_state


class PerStep(float):
    """An amount per step: a rate, once the duration of a step is known.

    A metric that computes this is written as `perf_stats/<name>_per_sec` among the
    timings, which differ from run to run, and not among the metrics, which don't.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput(base.Metric):
    """Examples, tokens, pixels a second, written as `perf_stats/<name>_per_sec`.

    The number in the batch of a logging step, times the steps a second since the
    logging step before. An evaluation measures no time: nothing is written there.

    Attributes:
      values: Key to an array of any dtype, whose first axes are counted.
      mask: Key to weights of what is counted, such as 0 for padding; axes may be 1.
      num_axes: How many axes: 1 counts examples; 2 the tokens of `Array["b n"]`.

    Returns of `compute`: a `PerStep`, the mean number in a batch.

    Raises:
      ValueError: If the array has fewer axes, or `num_axes < 1`.

    Example:

    ```python
    cfg.train_metrics["tokens"] = kd.metrics.Throughput(
        values="batch.tokens", mask="batch.loss_mask", num_axes=2
    )
    ```
    """

    values: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    num_axes: int = 1

    @flax.struct.dataclass
    class State(auto_state.AutoState["Throughput"]):
        """Sum of the weights, and number of batches."""

        amount: Float["*n"] = auto_state.sum_field()
        num_batches: Int["*n"] = auto_state.sum_field()

        def compute(self) -> PerStep:
            sums = super().compute()
            if sums.amount is None:
                return PerStep(0)
            return PerStep(sums.amount / max(sums.num_batches, 1))

    def __post_init__(self) -> None:
        if self.num_axes < 1:
            raise ValueError(
                f"`num_axes` of Throughput must be at least 1: got {self.num_axes}."
            )

    @typechecked
    def get_state(self, values: Array, mask: Array | float | None = None) -> State:
        shape = np.shape(values)
        if len(shape) < self.num_axes:
            raise ValueError(
                f"Throughput counts {self.num_axes} axes, but key {self.values!r} has "
                f"shape {shape}."
            )
        counted = shape[: self.num_axes]
        mask = jnp.ones(()) if mask is None else mask
        amount = base_state.broadcast_mask(mask, counted).sum(dtype=jnp.float32)
        return self.State(amount=amount, num_batches=jnp.ones((), jnp.int32))
