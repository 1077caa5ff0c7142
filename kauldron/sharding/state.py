"""`TrainState`: everything that a training step changes."""

from __future__ import annotations

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass(kw_only=True)
class TrainState:
    """The state of a run between two steps.

    Attributes:
      step: Number of updates applied so far, `i32[]`.
      params: Parameters of the model.
      collections: The other Flax variable collections (such as `batch_stats`).
      opt_state: State of the optimizer; `None` without one.
    """

    step: jax.Array | int
    params: Any = None
    collections: Any = None
    opt_state: Any = None
