"""Whole cases, predicted patch by patch by each member."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.volumes.geometry.base import Geometry
from kauldron.volumes.patches import sliding_windows
from kauldron.volumes.prediction import _members, _patch_network


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CasePredictor:
    """Predicts cases; what was compiled for one is there for the next.

    Attributes:
      network: The model on patches.
      window: How patches are cut and blended.
    """

    network: _patch_network.PatchNetwork
    window: sliding_windows.SlidingWindow

    def __call__(
        self,
        states: Sequence[TrainState],
        batch: Any,
        *,
        augment: Any,
        num_dropouts: int,
    ) -> list[dict[str, PyTree]]:
        """Returns key -> `[z y x c]` of each member, on the grid of the case.

        Args:
          states: Of the checkpoints.
          batch: Of one case.
          augment: Of the further copies; `None` for none.
          num_dropouts: How often each checkpoint predicts a copy with dropout; 0 is once,
            without.
        """
        inputs = _patch_network.Inputs.of(self.network.model, batch)
        case = str(batch["case"][0])
        copies = _members.copies(augment, case, inputs, geometry_of(batch))
        results = []
        for number, copy in enumerate(copies):
            for draw in range(max(1, num_dropouts)):
                for state in states:
                    fn = functools.partial(
                        self._jitted_network,
                        state,
                        np.int32(number * max(1, num_dropouts) + draw),
                        copy.inputs.rest,
                        channels=copy.inputs.channels,
                        drops=bool(num_dropouts),
                    )
                    predicted = self.window(fn, copy.inputs.volume)
                    results.append(copy.back(jax.tree.map(np.asarray, predicted)))
        return results

    @functools.cached_property
    def _jitted_network(self) -> Any:
        return jax.jit(self.network, static_argnames=("channels", "drops"))


def geometry_of(batch: Any) -> Geometry:
    """Returns where the voxels of the batch of one case are."""
    key = next(key for key in batch if key.endswith("_geometry"))
    return Geometry.from_dict({k: np.asarray(x)[0] for k, x in batch[key].items()})
