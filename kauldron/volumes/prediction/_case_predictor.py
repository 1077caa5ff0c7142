"""Predicts cases: each whole, or slab by slab with the same numbers."""

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
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.patches import sliding_windows
from kauldron.volumes.prediction import (
    _members,
    _parts,
    _patch_network,
    _predicted,
)

_FIRST_VOXEL = Region((0, 0, 0), (1, 1, 1))
_Hold = Callable[[Callable[..., Any], Any], PyTree]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CasePredictor:
    """Predicts each case with each member.

    Attributes:
      cases: The dataset.
      states: Of the checkpoints.
      network: The compiled `PatchNetwork`.
      model: Its model.
      window: How patches are cut and blended.
      augment: Says which copies are predicted, too.
      num_dropouts: How often each member predicts with dropout; 0 is once, without.
    """

    cases: dataset.VolumeCases
    states: Sequence[TrainState]
    network: Callable[..., Any]
    model: Any
    window: sliding_windows.SlidingWindow
    augment: Any
    num_dropouts: int

    def whole(self, skip: Callable[[str], bool]) -> Iterator[_predicted.Predicted]:
        """Yields the cases that are not left out, as they are in memory."""
        with iter(self.cases) as batches:
            for batch in batches:
                case, geometry = str(batch["case"][0]), _predicted.geometry_of(batch)
                if skip(case):
                    continue
                with _explained(case):
                    inputs = _patch_network.Inputs.of(self.model, batch)
                    members = self._members(inputs, case, geometry, self._held)
                yield _predicted.Predicted(
                    case=case,
                    geometry=geometry,
                    members=members,
                    batch_of=lambda region, batch=batch: batch,
                    regions=[Region.whole(inputs.volume.shape)],
                )

    def by_slabs(self, skip: Callable[[str], bool]) -> Iterator[_predicted.Predicted]:
        """Yields the cases that are not left out; each is gone when the next is asked for."""
        for case in self.cases.case_names:
            if skip(case):
                continue
            shape = self.cases.shape(case)
            batch_of = functools.partial(_predicted.batch_of, self.cases, case)
            with tempfile.TemporaryDirectory(prefix="kauldron-") as folder:
                with _explained(case):
                    inputs = _patch_network.Inputs.of_parts(self.model, batch_of, shape)
                    geometry = _predicted.geometry_of(batch_of(_FIRST_VOXEL))
                    hold = functools.partial(self._kept, folder)
                    members = self._members(inputs, case, geometry, hold)
                num_channels = sum(x.shape[-1] for x in jax.tree.leaves(members))
                yield _predicted.Predicted(
                    case=case,
                    geometry=geometry,
                    members=members,
                    batch_of=batch_of,
                    regions=list(_parts.slabs(shape, num_channels)),
                )

    def _members(
        self, inputs: _patch_network.Inputs, case: str, geometry: Geometry, hold: _Hold
    ) -> list[dict[str, PyTree]]:
        """Returns key -> `[z y x c]` of each member, on the grid of the case."""
        copies = _members.copies(self.augment, case, inputs, geometry)
        num_draws = max(1, self.num_dropouts)
        results = []
        for number, copy in enumerate(copies):
            for draw in range(num_draws):
                for state in self.states:
                    fn = functools.partial(
                        self.network,
                        state,
                        np.int32(number * num_draws + draw),
                        copy.inputs.rest,
                        channels=copy.inputs.channels,
                        drops=bool(self.num_dropouts),
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


@contextlib.contextmanager
def _explained(case: str) -> Iterator[None]:
    """Adds to an error which case is predicted."""
    try:
        yield
    except Exception as e:
        e.add_note(f"While predicting the case {case!r}.")
        raise
