"""Mixtures of pipelines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from kauldron.data import _draws, _errors, _nodes, _stages, iters
from kauldron.data.py import _slices, base
from kauldron.data.transforms import base as transforms_base


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OfDatasets(base.PyGrainPipeline):
    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ("datasets",)

    datasets: Sequence[base.PyGrainPipeline] = dataclasses.field(kw_only=False)

    def _members(self, datasets: Sequence[Any], seed: int) -> list[_nodes.Node]:
        """Returns the elements of each dataset, with its transforms, unbatched."""
        if not datasets:
            raise _errors.DataError(f"`{type(self).__name__}` needs a dataset.")
        members = []
        for position, dataset in enumerate(datasets):
            if not isinstance(dataset, base.PyGrainPipeline):
                raise _errors.DataError(
                    f"`{type(self).__name__}` is made of `kd.data.py` pipelines: "
                    f"dataset {position} is a `{type(dataset).__name__}`."
                )
            without_slices = _slices.without(dataset.transforms)
            of_elements, of_batches = _stages.split_transforms(without_slices)
            if of_batches:
                raise _errors.DataError(
                    f"`{type(of_batches[0]).__name__}` changes whole batches: move it "
                    f"from dataset {position} to the transforms of the "
                    f"`{type(self).__name__}`."
                )
            if any(isinstance(t, transforms_base.ChunkTransform) for t in of_elements):
                raise _errors.DataError(
                    f"Dataset {position} of the `{type(self).__name__}` makes elements of "
                    "several examples. Move its chunk transforms to those of the "
                    f"`{type(self).__name__}`, which mixes the examples."
                )
            members.append(dataset._node(_draws.seed_from(seed, f"member{position}")))
        return members

    def run_records(self) -> Sequence[Mapping[str, Any]]:
        return [record for ds in self.datasets for record in ds.run_records()]

    def __iter__(self) -> iters.Iterator:
        self._check_keys()
        return super().__iter__()

    def _check_keys(self) -> None:
        """Raises if the first elements of the members have different keys."""
        keys = {}
        members = self._members(self.datasets, self._int_seed)
        for position, member in enumerate(members):
            columns = _nodes.first_row(member, f"dataset {position}").columns
            keys[position] = sorted(columns) if isinstance(columns, dict) else None
        for position, of_member in keys.items():
            if of_member != keys[0]:
                raise _errors.DataError(
                    f"The members of `{type(self).__name__}` must give elements with the "
                    f"same keys: dataset 0 has {keys[0]}, dataset {position} "
                    f"{of_member}. Rename or drop keys with `kd.data.Elements`."
                )

    @property
    def _max_bad_records(self) -> int:
        of_members = (ds._max_bad_records for ds in self.datasets)
        return self.max_bad_records + sum(of_members)


@dataclasses.dataclass(frozen=True)
class Mix(_OfDatasets):
    """Examples of several datasets in turn, in proportion to their weights.

    The members' transforms are applied to their examples, then the transforms of the
    mixture. `batch_size`, `seed` and `num_epochs` are those of the mixture alone. An epoch
    ends when a member would begin again; other members go on in the next epoch from where
    they were, so that none of their examples is left out for good.

    Attributes:
      datasets: The members.
      weights: How often each is taken, relative to the others; equal by default.
      shuffle: Whether members follow each other in random order. Otherwise they
        alternate as regularly as the weights allow.

    Raises:
      DataError: If weights are not positive, or not as many as datasets.

    Example:

    ```python
    ds = kd.data.py.Mix([photos, drawings], weights=[0.9, 0.1], batch_size=64)
    ```
    """

    weights: Sequence[float] | None = dataclasses.field(default=None, kw_only=True)
    shuffle: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights("Mix", self.weights, self.datasets)

    def _source_node(self, seed: int) -> _nodes.Node:
        weights = self.weights or [1.0] * len(self.datasets)
        node = _nodes.Mix(
            self._members(self.datasets, seed),
            list(weights),
            seed=seed,
            shuffle=self.shuffle,
        )
        return _slices.apply(node, self.transforms)


@dataclasses.dataclass(frozen=True)
class SelectFromDatasets(_OfDatasets):
    """Examples of several datasets in the order of a table.

    Attributes:
      datasets: The members.
      selection_map: Has `__len__()`, and `[i]` gives (index of the dataset, index of the
        example in it).
      shuffle: Whether the order of the table is drawn anew in every epoch.
    """

    selection_map: Any = dataclasses.field(kw_only=True)
    shuffle: bool = dataclasses.field(default=True, kw_only=True)

    def _source_node(self, seed: int) -> _nodes.Node:
        node = _nodes.Select(
            self._members(self.datasets, seed),
            self.selection_map,
            seed=seed,
            shuffle=self.shuffle,
        )
        return _slices.apply(node, self.transforms)


def check_weights(
    owner: str, weights: Sequence[float] | None, datasets: Sequence[Any]
) -> None:
    """Raises `DataError` unless there is a positive number for each dataset."""
    if weights is None:
        return
    if len(weights) != len(datasets):
        raise _errors.DataError(
            f"{owner}: `weights` has {len(weights)} numbers for {len(datasets)} datasets."
        )
    if not all(math.isfinite(w) and w > 0 for w in weights):
        raise _errors.DataError(
            f"{owner}: `weights` must be positive: got {list(weights)}. Leave out "
            "datasets that are not to be used."
        )
