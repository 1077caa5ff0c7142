"""`TrainState`: everything that a training step updates."""

from __future__ import annotations

import flax.struct

from kauldron.ktyping import PyTree, ScalarInt


@flax.struct.dataclass(kw_only=True)
class TrainState:
    """The state of a run between two steps.

    Attributes:
      step: Number of updates applied so far.
      params: Parameters of the model.
      collections: The other Flax variable collections (such as `batch_stats`).
      opt_state: State of the optimizer; `None` without one.
    """

    step: ScalarInt
    params: PyTree = None
    collections: PyTree = None
    opt_state: PyTree = None
