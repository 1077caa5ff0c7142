"""Cases, predicted patch by patch by each member: whole, or slab by slab."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState
from kauldron.volumes.cases import dataset
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.patches import sliding_windows
from kauldron.volumes.prediction import (
    _members,
    _parts,
    _patch_network,
    _predicted,
)

_FIRST_VOXEL = Region((0, 0, 0), (1, 1, 1))


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
        case, geometry = str(batch["case"][0]), _predicted.geometry_of(batch)
        copies = _members.copies(augment, case, inputs, geometry)
        return self._members(states, copies, num_dropouts, self._held)

    @contextlib.contextmanager
    def by_slabs(
        self,
        states: Sequence[TrainState],
        cases: dataset.VolumeCases,
        case: str,
        *,
        augment: Any,
        num_dropouts: int,
    ) -> Iterator[_predicted.Predicted]:
        """Yields the same of a case that is never in memory as a whole.

        What members predict is in temporary files as long as the block lasts.

        Args:
          states: See `__call__`.
          cases: The dataset.
          case: Name of the case.
          augment: See `__call__`.
          num_dropouts: See `__call__`.
        """
        shape = cases.shape(case)
        batch_of = functools.partial(_predicted.batch_of, cases, case)
        geometry = _predicted.geometry_of(batch_of(_FIRST_VOXEL))
        inputs = _patch_network.Inputs.of_parts(self.network.model, batch_of, shape)
        copies = _members.copies(augment, case, inputs, geometry)
        with tempfile.TemporaryDirectory(prefix="kauldron-") as folder:
            hold = functools.partial(self._kept, folder)
            members = self._members(states, copies, num_dropouts, hold)
            num_channels = sum(x.shape[-1] for x in jax.tree.leaves(members))
            yield _predicted.Predicted(
                case=case,
                geometry=geometry,
                members=members,
                batch_of=batch_of,
                regions=list(_parts.slabs(shape, num_channels)),
            )

    def _members(
        self,
        states: Sequence[TrainState],
        copies: Iterator[_members.Copy],
        num_dropouts: int,
        hold: Callable[[Callable[..., Any], Any], PyTree],
    ) -> list[dict[str, PyTree]]:
        num_draws = max(1, num_dropouts)
        results = []
        for number, copy in enumerate(copies):
            for draw in range(num_draws):
                for state in states:
                    fn = functools.partial(
                        self._jitted_network,
                        state,
                        np.int32(number * num_draws + draw),
                        copy.inputs.rest,
                        channels=copy.inputs.channels,
                        drops=bool(num_dropouts),
                    )
                    results.append(copy.back(hold(fn, copy.inputs.volume)))
        return results

    def _held(self, fn: Callable[..., Any], volume: np.ndarray) -> PyTree:
        """Returns what a member predicts, in memory."""
        return jax.tree.map(np.asarray, self.window(fn, volume))

    def _kept(
        self, folder: str, fn: Callable[..., Any], volume: _parts.Parts
    ) -> PyTree:
        """Returns what a member predicts, in files."""
        z, y, x, _ = volume.shape
        own = pathlib.Path(tempfile.mkdtemp(dir=folder))
        return _parts.kept_in_files(self.window.slabs(fn, volume), (z, y, x), own)

    @functools.cached_property
    def _jitted_network(self) -> Any:
        return jax.jit(self.network, static_argnames=("channels", "drops"))
