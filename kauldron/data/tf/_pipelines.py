"""The published `tf.data` pipelines, on top of random-access pipelines."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from kauldron.data import (
    _columns,
    _draws,
    _errors,
    _nodes,
    _specs,
    _stages,
    iters,
    pipelines,
)
from kauldron.data.py import _mixtures, _slices, _tfds, base
from kauldron.data.tf import _unavailable


def check_options(pipeline: Any) -> None:
    """Raises `NeedsTensorFlowError` for options that only `tf.data` has."""
    if pipeline.tf_data_options is not None:
        raise _unavailable.NeedsTensorFlowError(
            f"`{type(pipeline).__name__}.tf_data_options` only makes sense with tf.data. "
            "Leave it out; `num_workers` sets how many processes build batches."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TfOptions(base.PyGrainPipeline):
    """Fields of the published `tf.data` pipelines.

    Attributes:
      tf_data_options: Not available.
      prefetch_size: Has no effect: batches are always built ahead.
      checkpoint: Has no effect: positions are always saved.
    """

    tf_data_options: Any = None
    prefetch_size: int | None = None
    checkpoint: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self)

    def transform_ds(self, ds: Any) -> Any:
        """Not available: transforms of a `tf.data.Dataset` need TensorFlow."""
        del ds
        raise _unavailable.NeedsTensorFlowError(
            f"`{type(self).__name__}.transform_ds` changes a `tf.data.Dataset`, which "
            "needs TensorFlow. `ds_with_transforms(rng)` gives the transformed elements "
            "as a grain dataset."
        )


@dataclasses.dataclass(frozen=True)
class Tfds(_TfOptions, _tfds.Tfds):
    """`kd.data.py.Tfds` with the published arguments of `tf.data`.

    Attributes:
      cache: Has no effect: the operating system caches the files.
      shard_drop_remainder: Has no effect: processes share every batch evenly.
    """

    cache: bool = dataclasses.field(default=False, kw_only=True)
    shuffle: bool = dataclasses.field(default=True, kw_only=True)
    shard_drop_remainder: bool = dataclasses.field(default=True, kw_only=True)


@dataclasses.dataclass(frozen=True)
class TfdsLegacy(_TfOptions, _tfds.Tfds):
    """`kd.data.py.Tfds` with the published arguments for datasets of any format.

    Attributes:
      read_config: Not available.
      cache: Has no effect.
      shuffle_buffer_size: Has no effect: the whole dataset is shuffled.
    """

    shuffle: bool = dataclasses.field(default=True, kw_only=True)
    read_config: Any = dataclasses.field(default=None, kw_only=True)
    cache: bool = dataclasses.field(default=False, kw_only=True)
    shuffle_buffer_size: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.read_config is not None:
            raise _unavailable.NeedsTensorFlowError(
                "`TfdsLegacy.read_config` only makes sense with tf.data. Leave it out."
            )


@dataclasses.dataclass(frozen=True)
class SampleFromDatasets(_TfOptions, _mixtures._OfDatasets):
    """Mixes datasets by random choice, as `kd.data.py.Mix` does.

    `num_epochs` of the members says when it ends: never, if it is `None` for one of them.

    Attributes:
      datasets: The members.
      weights: How often each is chosen, relative to the others; equal by default.
      stop_on_empty_dataset: Whether a finite mixture ends with its first exhausted
        member. Otherwise every example of every member comes up, in random order.
      rerandomize_each_iteration: Has no effect: an iteration is always that of the seed.
    """

    datasets: Sequence[base.PyGrainPipeline]
    weights: Sequence[float] | None = dataclasses.field(default=None, kw_only=True)
    stop_on_empty_dataset: bool = dataclasses.field(default=False, kw_only=True)
    rerandomize_each_iteration: bool = dataclasses.field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _mixtures.check_weights(type(self).__name__, self.weights, self.datasets)
        epochs = [dataset.num_epochs for dataset in self.datasets]
        if self.num_epochs is None and None not in epochs:
            object.__setattr__(self, "num_epochs", 1)

    def _source_node(self, seed: int) -> _nodes.Node:
        members = self._members(self.datasets, seed)
        if self.num_epochs is None or self.stop_on_empty_dataset:
            weights = list(self.weights or [1.0] * len(members))
            node: _nodes.Node = _nodes.Mix(members, weights, seed=seed, shuffle=True)
        else:
            lengths = [
                member.length * (dataset.num_epochs or 1)
                for member, dataset in zip(members, self.datasets, strict=True)
            ]
            table = _AllExamples(lengths)
            node = _nodes.Select(members, table, seed=seed, shuffle=True)
        return _slices.apply(node, self.transforms)


@dataclasses.dataclass(frozen=True)
class ZipDatasets(_TfOptions):
    """Elements of several datasets side by side: `{name: element}`.

    Attributes:
      datasets: The members by name; the shortest decides how many elements there are.
    """

    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ("datasets",)

    datasets: Mapping[str, base.PyGrainPipeline]

    def run_records(self) -> Sequence[Mapping[str, Any]]:
        return [record for ds in self.datasets.values() for record in ds.run_records()]

    def _source_node(self, seed: int) -> _nodes.Node:
        members = {
            name: dataset._node(_draws.seed_from(seed, f"member/{name}"))
            for name, dataset in self.datasets.items()
        }
        return _slices.apply(_Zip(members, seed), self.transforms)


@dataclasses.dataclass(frozen=True)
class ElementSpecDataset(pipelines.Pipeline):
    """One batch of zeros of given shapes and dtypes.

    Attributes:
      spec: Pytree of anything with `shape` and `dtype`.
      transforms: Applied to the batch as if it were one element.
      batch_drop_remainder: Has no effect, as there is one batch.
      tf_data_options: Not available.
      prefetch_size: Has no effect.
      checkpoint: Has no effect.

    Raises:
      DataError: If `batch_size` is given: the spec has it.
    """

    spec: Any
    transforms: Any = dataclasses.field(default=(), kw_only=True)
    batch_drop_remainder: Any = dataclasses.field(default=None, kw_only=True)
    tf_data_options: Any = dataclasses.field(default=None, kw_only=True)
    prefetch_size: int | None = dataclasses.field(default=None, kw_only=True)
    checkpoint: bool | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_options(self)
        of_elements, _ = _stages.split_transforms(self.transforms)
        _stages.build(of_elements)
        if self.batch_size is not None:
            raise _errors.DataError(
                "ElementSpecDataset: the shapes of `spec` have the batch axis: leave out "
                "`batch_size`."
            )

    @functools.cached_property
    def element_spec(self) -> Any:
        return _specs.spec_of(self._batch if self.transforms else self.spec)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> iters.Iterator:
        return iters.ListIterator(self, lambda: [self._batch])

    @property
    def _batch(self) -> Any:
        zeros = _specs.zeros(_specs.spec_of(self.spec))
        if not self.transforms:
            return zeros
        of_elements, _ = _stages.split_transforms(self.transforms)
        first = np.zeros(1, np.int64)
        ids = _draws.ExampleIds(self._int_seed, first, first)
        block = _stages.Block(_columns.from_rows([zeros]), first, ids, first)
        block = _nodes.run_stages(block, _stages.build(of_elements))
        return _columns.row(block.columns, 0)


@dataclasses.dataclass
class _AllExamples:
    lengths: list[int]

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, index: int) -> tuple[int, int]:
        for member, length in enumerate(self.lengths):
            if index < length:
                return member, index
            index -= length
        raise IndexError(index)


class _Zip(_nodes.Node):
    def __init__(self, members: dict[str, _nodes.Node], seed: int) -> None:
        self._members = members
        self._seed = seed
        self.length = min(member.length for member in members.values())
        self.drops_rows = any(member.drops_rows for member in members.values())

    def fetch(self, positions: np.ndarray) -> _stages.Block:
        blocks = {name: node.fetch(positions) for name, node in self._members.items()}
        kept = positions  # where every member has a row
        for block in blocks.values():
            kept = kept[np.isin(kept, block.positions)]
        columns = {
            name: _columns.select(block.columns, np.searchsorted(block.positions, kept))
            for name, block in blocks.items()
        }
        epochs, offsets = np.divmod(kept, self.length)
        ids = _draws.ExampleIds(self._seed, epochs, offsets)
        bad = tuple(text for block in blocks.values() for text in block.bad_records)
        return _stages.Block(columns, kept, ids, offsets, bad)
