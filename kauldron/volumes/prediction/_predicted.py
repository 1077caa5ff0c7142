"""What members predict of one case, whole or slab by slab."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from kauldron import kontext
from kauldron import metrics as metrics_lib
from kauldron.ktyping import PyTree
from kauldron.volumes.cases import dataset
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.metrics.case_state import CaseMetric
from kauldron.volumes.prediction import _parts, _patch_network


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Predicted:
    """What is predicted of a case.

    Attributes:
      case: Its name.
      geometry: Of the grid that the model sees.
      members: Key -> `[z y x c]` of each member: arrays, or `Parts`.
      batch_of: Returns the batch that a region of the case is.
      regions: Make up the case; so much is in memory at a time.
    """

    case: str
    geometry: Geometry
    members: Sequence[dict[str, PyTree]]
    batch_of: Callable[[Region], Any]
    regions: Sequence[Region]

    @classmethod
    def whole(cls, batch: Any, members: Sequence[dict[str, PyTree]]) -> Predicted:
        """Returns what is in memory: the batch of one case, and arrays of members."""
        first = next(x for x in jax.tree.leaves(members))
        return cls(
            case=str(batch["case"][0]),
            geometry=geometry_of(batch),
            members=members,
            batch_of=lambda region: batch,
            regions=[Region.whole(first.shape)],
        )

    @property
    def num_numbers(self) -> int:
        """How many numbers all members predict of a voxel."""
        return sum(x.shape[-1] for x in jax.tree.leaves(self.members))

    def slabs(self) -> Iterator[tuple[Any, list[dict[str, PyTree]]]]:
        """Yields the batch of each region, and what members predict there."""
        for region in self.regions:
            arrays = [
                jax.tree.map(lambda x, region=region: _parts.read(x, region), member)
                for member in self.members
            ]
            yield self.batch_of(region), arrays

    def of(self, key: str) -> list[Any]:
        """Returns what each member predicts, by a key such as `'preds.logits'`."""
        path, slices = _patch_network.split_key(key)
        trees = map(_patch_network.nested, self.members)
        return [_sliced(kontext.get_by_path(tree, path), slices) for tree in trees]


def _sliced(volume: Any, slices: kontext.Path) -> Any:
    """Returns some channels of an array, or of `Parts`."""
    if not slices.parts:
        return volume
    if not isinstance(volume, _parts.Parts):
        return kontext.get_by_path(volume, slices)

    def read(region: Region) -> np.ndarray:
        return kontext.get_by_path(volume.read(region), slices)

    return dataclasses.replace(volume, read=read)


def batch_of(cases: dataset.VolumeCases, case: str, region: Region) -> Any:
    """Returns a region of a case as a batch of one."""
    example = cases.region(case, region)
    return jax.tree.map(lambda x: np.asarray(x)[None], example)


def geometry_of(batch: Any) -> Geometry:
    """Returns where the voxels of a batch of one are."""
    key = next(key for key in batch if key.endswith("_geometry"))
    return Geometry.from_dict({k: np.asarray(x)[0] for k, x in batch[key].items()})


def with_cases(metrics: PyTree) -> PyTree:
    """Returns metrics of cases that know which case a batch is of."""

    def with_case(metric: Any) -> Any:
        if isinstance(metric, CaseMetric) and metric.case is None:
            return dataclasses.replace(metric, case="batch.case")
        return metric

    return jax.tree.map(with_case, metrics, is_leaf=_is_metric)


def _is_metric(x: Any) -> bool:
    return isinstance(x, metrics_lib.Metric)
