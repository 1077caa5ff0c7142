"""`PyGrainPipeline`: examples by index, transforms, batches."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from kauldron._base import console, processes
from kauldron.data import (
    _batching,
    _chunks,
    _columns,
    _errors,
    _index_iterators,
    _nodes,
    _order,
    _readers,
    _specs,
    _stages,
    _workers,
    iters,
    pipelines,
)
from kauldron.data.py import _slices

if TYPE_CHECKING:
    import grain

    from kauldron import random

DropRemainder = _batching.DropRemainder


@dataclasses.dataclass(frozen=True, kw_only=True)
class PyGrainPipeline(pipelines.Pipeline):
    """Base of pipelines whose examples have random access.

    The order is: read, shuffle, transforms, epochs, batches. Every example is a function
    of its position, so iterators resume exactly, on any number of workers and processes.
    With several processes, each loads its part of the same global batches.

    To write a pipeline, derive from `DataSourceBase`, or implement
    `ds_for_current_process`.

    Attributes:
      transforms: Applied in this order; a dict gives them names for the command line.
      num_epochs: How often the data are repeated; `None` is endless.
      batch_drop_remainder: What happens with last examples that fill no batch: True or
        'drop', False or 'keep' (a smaller batch), 'pad' (rows of zeros). `None` drops in
        training and keeps everything in evaluation.
      num_workers: Worker processes; 0 builds batches in this process, in a thread if
        they take long. `None` chooses; no choice changes the data.
      read_options: grain's; its `num_threads` is used inside workers.
      enable_profiling: Whether grain profiles the workers.
      per_worker_buffer_size: Batches each worker has ready.
      shard_by_process: Whether processes share the examples; otherwise each goes through
        all of them.
      worker_init_fn: Called in each worker with (worker index, number of workers).
      max_bad_records: How many records that cannot be read are skipped, with a warning;
        one more is an error.

    Raises:
      DataError: If a value cannot work.
    """

    transforms: Sequence[Any] | Mapping[str, Any] = ()
    num_epochs: int | None = None
    batch_drop_remainder: bool | str | None = None
    num_workers: int | None = None
    read_options: Any = None
    enable_profiling: bool = False
    per_worker_buffer_size: int = 1
    shard_by_process: bool = True
    worker_init_fn: Callable[[int, int], None] | None = None
    max_bad_records: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_drop_remainder is not None:
            DropRemainder.from_field(self.batch_drop_remainder)
        for name, at_least in (
            ("num_epochs", 1),
            ("num_workers", 0),
            ("max_bad_records", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < at_least:
                raise _errors.DataError(
                    f"`{name}` must be at least {at_least}, or None: got {value!r}."
                )
        of_elements, _ = _stages.split_transforms(_slices.without(self.transforms))
        _stages.build_all(of_elements)

    def ds_for_current_process(self, rng: random.PRNGKey) -> grain.MapDataset:
        """Returns this process's examples, before transforms; to override.

        Args:
          rng: Key of the pipeline, for shuffling.

        Returns:
          One epoch. Processes must get distinct examples.
        """
        del rng
        import grain

        node = self._source_node(self._int_seed)
        return grain.MapDataset.source(_NodeSource(node))

    def ds_with_transforms(self, rng: random.PRNGKey) -> grain.MapDataset:
        """Returns one epoch of single, transformed elements as a grain dataset."""
        del rng
        import grain

        return grain.MapDataset.source(_NodeSource(self._node(self._int_seed)))

    def for_evaluation(self) -> PyGrainPipeline:
        """Returns the pipeline that leaves no example out, unless the config says so."""
        return self._for_evaluation

    @functools.cached_property
    def _for_evaluation(self) -> PyGrainPipeline:
        if self.batch_drop_remainder is not None:
            return self
        return dataclasses.replace(self, batch_drop_remainder=False)

    @property
    def is_endless(self) -> bool:
        return self.num_epochs is None

    def __iter__(self) -> iters.Iterator:
        plan = _index_iterators.Plan(
            make_batching=self._batching,
            seed=self._int_seed,
            has_arbitrary_seed=self._has_arbitrary_seed,
            max_bad_records=self._max_bad_records,
            workers=_worker_options(self),
        )
        iterator = _index_iterators.make_iterator(self, plan)
        self._warn_of_repeated_rows(iterator.batching)
        return iterator

    def _warn_of_repeated_rows(self, batching: _batching.Batching) -> None:
        """Says once if a batch has the same example several times."""
        if self.num_epochs == 1 or not self.batch_size or "_has_warned" in vars(self):
            return
        length = batching.node.length
        if self.batch_size > length and batching.process[0] == 0:
            object.__setattr__(self, "_has_warned", True)
            times = f"{self.batch_size / length:.3g} times"
            examples = "one example" if length == 1 else f"{length} examples"
            console.warn(
                f"`batch_size={self.batch_size}` of `{type(self).__name__}` is more than "
                f"its {examples}: with `num_epochs={self.num_epochs}` every batch "
                f"has each of them about {times}."
            )

    def __len__(self) -> int:
        """Returns the number of batches; filters are not accounted for.

        Raises:
          TypeError: If `num_epochs` is `None`, or a chunk transform makes elements.
        """
        batching = self._batching(self._int_seed)
        num_batches = batching.num_batches
        if batching.node.fetch_size > 1:
            raise TypeError(
                f"`{type(self).__name__}` has no known length: how many elements a chunk "
                "transform makes is known once it did."
            )
        if num_batches is None:
            raise TypeError(
                f"`{type(self).__name__}` is endless, as `num_epochs` is None: it has "
                "no length. Set `num_epochs`, or use `.take(n)`."
            )
        return num_batches

    def __getitem__(self, index: int) -> Any:
        """Returns the batch at an index.

        Raises:
          IndexError: If there is none.
          TypeError: If a transform filters: indices are not known then.
        """
        batching = self._batching(self._int_seed)
        if batching.node.drops_rows:
            raise TypeError("Batches of a pipeline that filters have no index.")
        if index < 0 and batching.num_batches is not None:
            index += batching.num_batches
        if index < 0 or (
            batching.num_batches is not None and index >= batching.num_batches
        ):
            raise IndexError(f"There is no batch {index}.")
        return batching.batch_at(index * batching.step)

    @functools.cached_property
    def element_spec(self) -> Any:
        """Shapes and dtypes of what this process loads; reads one element."""
        batching = self._batching(self._int_seed)
        block = _nodes.first_row(batching.node, type(self).__name__)
        for stage in batching.late_stages:
            block = stage(block)
        single = dataclasses.replace(
            batching, remainder=DropRemainder.KEEP, process=(0, 1)
        )
        spec = _specs.spec_of(single.finish(block, 1))
        if self.batch_size is None:
            return spec
        num_rows = batching.step // batching.process[1]
        if batching.remainder is DropRemainder.KEEP and batching.num_positions:
            num_rows = min(num_rows, batching.num_positions)
        return _specs.with_num_rows(spec, num_rows)

    def _source_node(self, seed: int) -> _nodes.Node:
        """Returns the examples before transforms; to override inside this package."""
        if type(self).ds_for_current_process is PyGrainPipeline.ds_for_current_process:
            raise NotImplementedError(
                f"`{type(self).__name__}` must implement `ds_for_current_process`, or "
                "derive from `kd.data.py.DataSourceBase`."
            )
        from kauldron import random

        dataset = self.ds_for_current_process(random.PRNGKey(seed).fold_in("kmix"))
        node = _nodes.FromFunction(dataset.__getitem__, len(dataset), seed=seed)
        return _slices.apply(node, self.transforms)

    def parts(self) -> _batching.PipelineParts:
        """Returns what batches are made of, for those who measure or explain a pipeline."""
        seed = self._int_seed
        source, stages, _ = self._parts(seed)
        return _batching.PipelineParts(source, stages, self._batching(seed), seed)

    def _node(self, seed: int) -> _nodes.Node:
        """Returns the examples after the transforms of elements."""
        source, stages, _ = self._parts(seed)
        return _nodes.Transformed(source, stages) if stages else source

    def _parts(self, seed: int) -> tuple[_nodes.Node, list[_stages.Stage], list[Any]]:
        of_elements, of_batches = _stages.split_transforms(
            _slices.without(self.transforms)
        )
        source = self._source_node(seed)
        if source.length == 0:
            raise _errors.DataError(f"`{type(self).__name__}` has no examples.")
        stages: list[_stages.Stage] = []
        for stage in _stages.build_all(of_elements):
            if isinstance(stage, _stages.Regrouping):
                parent = _nodes.Transformed(source, stages) if stages else source
                source, stages = _chunks.Chunked(parent, stage, seed=seed), []
            else:
                stages.append(stage)
        return source, stages, of_batches

    def _batching(self, seed: int) -> _batching.Batching:
        source, stages, batch_stages = self._parts(seed)
        process = processes.index_and_count()
        batch_size = self.batch_size
        if batch_size is not None:
            per_process = pipelines.BatchSize(batch_size).per_process
            batch_size = batch_size if self._is_sharded else per_process
        if not self._is_sharded:
            process = (0, 1)
        early = len(stages)
        if process[1] > 1 and (source.drops_rows or any(s.drops_rows for s in stages)):
            early = max(
                (i + 1 for i, s in enumerate(stages) if s.drops_rows), default=0
            )
        node = _nodes.Transformed(source, stages[:early]) if early else source
        remainder = self.batch_drop_remainder
        batching = _batching.Batching(
            node=node,
            batch_size=batch_size,
            num_positions=self.num_epochs and node.length * self.num_epochs,
            remainder=DropRemainder.from_field(
                True if remainder is None else remainder
            ),
            process=process,
            batch_stages=batch_stages,
            late_stages=stages[early:],
        )
        _check_not_empty(batching, type(self).__name__)
        return batching

    @property
    def num_shared_examples(self) -> int | None:
        return self._batching(self._int_seed).node.length if self._is_sharded else None

    @property
    def _is_sharded(self) -> bool:
        # A subclass that says what this process's examples are has shared them already.
        hook = type(self).ds_for_current_process
        is_hooked = hook is not PyGrainPipeline.ds_for_current_process
        return self.shard_by_process and not is_hooked

    @property
    def _max_bad_records(self) -> int:
        return self.max_bad_records


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSourceBase(PyGrainPipeline):
    """Base of pipelines over a source with `__len__` and `__getitem__`.

    Derive, and set or compute `data_source`.

    Attributes:
      data_source: What is read: a random access source, an array, or a dict of arrays
        whose first axis counts examples. Opened when it is first needed.
      shuffle: Whether the order is drawn anew in every epoch.
    """

    shuffle: bool

    @functools.cached_property
    def _for_evaluation(self) -> PyGrainPipeline:
        if self.batch_drop_remainder is not None:
            return self
        copy = dataclasses.replace(self, batch_drop_remainder=False)
        # The data are opened once: they may be large.
        object.__setattr__(copy, "_shares_data_with", self)
        return copy

    @functools.cached_property
    def _reader(self) -> _nodes.Reader:
        owner = self.__dict__.get("_shares_data_with")
        return self._open_reader() if owner is None else owner._reader

    def _open_reader(self) -> _nodes.Reader:
        try:
            data_source = cast(Any, self).data_source  # of the subclass
        except AttributeError as error:
            if hasattr(type(self), "data_source"):
                raise
            raise NotImplementedError(
                f"`{type(self).__name__}` needs an attribute or a property "
                "`data_source`."
            ) from error
        path = vars(self).get("path", vars(self).get("name"))
        owner = type(self).__name__ + (f"({str(path)!r})" if path is not None else "")
        return _readers.reader_for(data_source, owner=f"`{owner}`")

    def _source_node(self, seed: int) -> _nodes.Node:
        hook = type(self).ds_for_current_process
        if hook is not PyGrainPipeline.ds_for_current_process:
            return super()._source_node(seed)
        return _nodes.Source(
            self._reader,
            seed=seed,
            shuffle=self.shuffle,
            indices=_slices.indices(len(self._reader), self.transforms),
            skips_bad_records=self.max_bad_records > 0,
        )


@dataclasses.dataclass
class _NodeSource:
    node: _nodes.Node

    def __len__(self) -> int:
        return self.node.length

    def __getitem__(self, index: int) -> Any:
        block = self.node.fetch(_order.positions_from(int(index), 1))
        return _columns.row(block.columns, 0) if len(block) else None


def _check_not_empty(batching: _batching.Batching, name: str) -> None:
    if batching.num_batches != 0:
        return
    num_examples = batching.num_positions
    raise _errors.DataError(
        f"`batch_size={batching.step}` is more than the {num_examples} examples of "
        f"`{name}`, so that no batch would be full. Use `batch_size={num_examples}` or "
        "less, `num_epochs=None` to repeat the data, or `batch_drop_remainder=False` "
        "for a smaller batch."
    )


def _worker_options(pipeline: PyGrainPipeline) -> _workers.WorkerOptions:
    threads = getattr(pipeline.read_options, "num_threads", 1)
    return _workers.WorkerOptions(
        num_workers=pipeline.num_workers,
        buffer_size=pipeline.per_worker_buffer_size,
        num_threads=max(threads, 1),
        enable_profiling=pipeline.enable_profiling,
        init_fn=pipeline.worker_init_fn,
    )
