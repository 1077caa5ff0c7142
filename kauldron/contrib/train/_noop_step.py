"""A training step that does nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron import train
from kauldron.ktyping import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoopTrainStep(train.TrainStep):
    """Counts steps and leaves everything as it is: no forward pass, no losses.

    To measure how fast the data come, or to run evaluators of a state that is loaded.
    """

    def _step(self, state: PyTree, batch: PyTree) -> tuple[Any, train.Context]:
        context = train.Context.from_state_and_batch(state=state, batch=batch)
        return dataclasses.replace(state, step=state.step + 1), context
