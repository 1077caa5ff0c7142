"""`Context`: the one namespace that every string key points into."""

from __future__ import annotations

from typing import Any, Self

import flax.struct

from kauldron import kontext
from kauldron.ktyping import Float, PyTree, ScalarInt
from kauldron.metrics import base_state
from kauldron.sharding import TrainState
from kauldron.step import auxiliaries


@flax.struct.dataclass(kw_only=True)
class Context:
    """Everything that exists during one step; filled from top to bottom.

    Attributes:
      step: Number of updates applied before this step.
      batch: The batch.
      params: Parameters, before the update.
      collections: Other variable collections; after the forward pass, the new ones.
      preds: What the model returned.
      interms: Flax intermediates: `interms.<module path>.__call__[0]`, and what modules
        sowed.
      loss_states: Tree of loss states.
      loss_total: Sum of the weighted losses.
      grads: Gradients with respect to `params` (training only).
      updates: What the optimizer adds to `params` (training only).
      opt_state: State of the optimizer before the update (training only).
      metric_states: Tree of metric states.
      summary_states: Tree of summary states.
    """

    step: ScalarInt
    batch: PyTree
    params: PyTree = None
    collections: PyTree = None
    preds: PyTree = None
    interms: PyTree = None
    loss_states: PyTree[base_state.State] = None
    loss_total: Float[""] | None = None
    grads: PyTree = None
    updates: PyTree = None
    opt_state: PyTree = None
    metric_states: PyTree[base_state.State] = None
    summary_states: PyTree[base_state.State] = None

    @classmethod
    def from_state_and_batch(cls, *, state: TrainState, batch: PyTree) -> Self:
        """Returns the context at the beginning of a step."""
        return cls(
            step=state.step,
            batch=batch,
            params=state.params,
            collections=state.collections,
            opt_state=state.opt_state,
        )

    def flatten(self) -> dict[str, Any]:
        """Returns `{path: leaf}`; each path is a valid key."""
        return kontext.flatten_with_path(self)

    def get_aux_state(
        self,
        *,
        return_losses: bool = False,
        return_metrics: bool = False,
        return_summaries: bool = False,
    ) -> auxiliaries.AuxiliariesState:
        """Returns the selected states; groups that are not selected are empty."""
        return auxiliaries.AuxiliariesState(
            loss_states=self.loss_states if return_losses else None,
            metric_states=self.metric_states if return_metrics else None,
            summary_states=self.summary_states if return_summaries else None,
        )
