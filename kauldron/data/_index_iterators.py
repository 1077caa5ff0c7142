"""Iterators over random-access pipelines: their state is a position."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from kauldron.data import _batch_builders, _errors, _order, _schema, _workers, iters
from kauldron.data._batching import Batching, DropRemainder
from kauldron.data._stages import Block

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


_STATE_KEYS = {"next_example", "num_examples", "seed"}
# Candidates a filtering pipeline looks at in one go.
_MIN_CANDIDATES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What an iterator needs to know.

    Attributes:
      make_batching: From the seed to the batches.
      seed: The seed of the pipeline.
      has_arbitrary_seed: Whether the seed may be replaced by that of a saved state.
      max_bad_records: How many records may be skipped.
      workers: Who builds the batches.
    """

    make_batching: Callable[[int], Batching]
    seed: int
    has_arbitrary_seed: bool
    max_bad_records: int
    workers: _workers.WorkerOptions


class IndexIterator(iters.Iterator):
    """Batches of a pipeline with random access.

    The state is a small dict that says which example is next in the global order. It
    does not depend on the number of workers, processes, or the batch size.
    """

    def __init__(self, source: object, plan: Plan, batching: Batching) -> None:
        super().__init__(source)
        self._plan = plan
        self._seed = plan.seed
        self._batching = batching
        self._position = 0
        self._runner: _batch_builders.Runner | None = None
        self._whole = False
        self._schema: _schema.Schema | None = None

    def __next__(self) -> Any:
        batching = self._batching
        if self._runner is None:
            self._runner = self._start(batching)
        batch = self._runner.next()
        self._check(batch, lambda: self._name_row_at(self._position))
        end, size = batching.num_positions, batching.step
        self._whole = end is not None and batching.is_whole(end - self._position)
        self._position += size
        return batch

    def get_state(self) -> dict[str, Any]:
        return {
            "next_example": self._position,
            "num_examples": self._batching.node.length,
            "seed": self._seed,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        iters.check_state(state, _STATE_KEYS, self.source)
        if state["seed"] != self._seed and not self._plan.has_arbitrary_seed:
            raise _errors.IteratorStateError(
                f"The position was saved with seed={state['seed']}, the pipeline has "
                f"seed={self._seed}: the order of the data is another one. Use the same "
                "seed, or a new workdir."
            )
        if state["num_examples"] != self._batching.node.length:
            raise _errors.IteratorStateError(
                f"The position was saved with {state['num_examples']} examples, the "
                f"dataset has {self._batching.node.length}: the order of the data is "
                "another one. Use the same data, or a new workdir."
            )
        self.close()
        if state["seed"] != self._seed:
            self._seed = state["seed"]
            self._batching = self._plan.make_batching(self._seed)
        self._position = state["next_example"]

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    @property
    def batching(self) -> Batching:
        """How batches are made."""
        return self._batching

    @property
    def has_whole_batch(self) -> bool:
        return self._whole

    def _check(self, batch: PyTree, name_first_row: Callable[[], str]) -> None:
        """Raises `DataError` if a batch has other keys or dtypes than those before."""
        schema = _schema.schema_of(batch)
        if self._schema is None:
            # Only if it is known: reading an example just for this would cost time.
            spec = vars(self.source).get("element_spec")
            self._schema = schema if spec is None else _schema.schema_of(spec)
        if schema != self._schema:
            _schema.check(schema, self._schema, name_first_row)

    def _name_row_at(self, position: int) -> str:
        batching = self._batching
        first = position + batching.process[0] * (batching.step // batching.process[1])
        return batching.node.fetch(_order.positions_from(first, 1)).name_row(0)

    def _start(self, batching: Batching) -> _batch_builders.Runner:
        schedule = _batch_builders.Schedule(
            first=self._position,
            step=batching.step,
            count=batching.num_batches_from(self._position),
        )
        return self._run(batching.batch_at, schedule)

    def _run(
        self, task: Any, schedule: _batch_builders.Schedule
    ) -> _batch_builders.Runner:
        num_bytes = self._batching.node.num_bytes
        return _batch_builders.start(
            task, schedule, self._plan.workers, num_bytes=num_bytes
        )


class FilteringIterator(IndexIterator):
    """Batches of a pipeline in which some positions yield no example.

    Every process looks at all candidates, so that all agree on which examples make up a
    batch: step counts are equal, and the global batch does not depend on the number of
    processes. Transforms after the last filter run on this process's rows only.
    """

    def __init__(self, source: object, plan: Plan, batching: Batching) -> None:
        super().__init__(source, plan, batching)
        self._pending: list[Block] = []
        self._num_pending = 0
        self._num_bad_records = 0

    @property
    def num_bad_records(self) -> int:
        """How many records this iterator has skipped because they cannot be read."""
        return self._num_bad_records

    def __next__(self) -> Any:
        batching = self._batching
        if self._runner is None:
            self._runner = self._start(batching)
        is_last = not self._fill(self._runner, batching)
        if is_last and not self._num_pending:
            raise StopIteration
        drops = batching.remainder is DropRemainder.DROP or batching.batch_size is None
        if is_last and drops:
            raise StopIteration
        rows = Block.concatenate(self._pending)
        rest = rows.select(slice(batching.step, None))
        rows = rows.select(slice(batching.step))
        self._pending = [rest] if len(rest) else []
        self._num_pending = len(rest)
        self._position = int(rows.positions[-1]) + 1
        self._whole = batching.is_whole(len(rows))
        batch = self._finish(rows, batching)
        self._check(batch, lambda: rows.name_row(0))
        return batch

    def close(self) -> None:
        super().close()
        self._pending, self._num_pending = [], 0

    def _finish(self, rows: Block, batching: Batching) -> Any:
        mine = batching.rows_of_process(rows)
        num_rows = len(mine)
        if batching.remainder is DropRemainder.PAD and len(rows) < batching.step:
            index, count = batching.process
            before = index * (batching.step // count)
            num_rows = max(min(len(rows) - before, batching.step // count), 0)
        for stage in batching.late_stages:
            mine = stage(mine)
        return batching.finish(mine, num_rows)

    def _fill(self, runner: _batch_builders.Runner, batching: Batching) -> bool:
        """Collects the rows of a batch; returns whether there were enough."""
        num_empty = 0
        while self._num_pending < batching.step:
            try:
                block = runner.next()
            except StopIteration:
                return False
            self._count(block.bad_records)
            if len(block) and block.positions[0] < self._position:
                # Handed out before the interruption, and computed again with the rest.
                block = block.select(np.flatnonzero(block.positions >= self._position))
            if len(block):
                self._pending.append(block)
                self._num_pending += len(block)
                num_empty = 0
                continue
            num_empty += _candidates(batching)
            if num_empty > 2 * batching.node.length + _candidates(batching):
                raise _errors.DataError(
                    f"The filters keep none of the {batching.node.length} examples of "
                    f"`{type(self.source).__name__}`."
                )
        return True

    def _count(self, bad_records: tuple[str, ...]) -> None:
        limit = self._plan.max_bad_records
        for what in bad_records:
            self._num_bad_records += 1
            if self._num_bad_records > limit:
                raise _errors.BadRecordError(
                    f"{self._num_bad_records} records of `{type(self.source).__name__}` "
                    f"cannot be read, more than `max_bad_records={limit}`. The last is "
                    f"{what}"
                )
            logging.warning("Skipped a record that cannot be read: %s", what)

    def _start(self, batching: Batching) -> _batch_builders.Runner:
        size, end = _candidates(batching), batching.num_positions
        first = self._position - self._position % batching.node.fetch_size
        count = None if end is None else -(-max(end - first, 0) // size)
        schedule = _batch_builders.Schedule(first=first, step=size, count=count)
        task = _FetchCandidates(batching, size)
        return self._run(task, schedule)


@dataclasses.dataclass
class _FetchCandidates:
    batching: Batching
    size: int

    def __call__(self, start: int) -> Block:
        end = self.batching.num_positions
        size = self.size if end is None else min(self.size, end - start)
        return self.batching.node.fetch(_order.positions_from(start, size))


def _candidates(batching: Batching) -> int:
    unit = batching.node.fetch_size
    return -(-max(batching.step, _MIN_CANDIDATES) // unit) * unit


def make_iterator(source: object, plan: Plan) -> IndexIterator:
    """Returns the iterator that fits the pipeline."""
    batching = plan.make_batching(plan.seed)
    kind = FilteringIterator if batching.node.drops_rows else IndexIterator
    return kind(source, plan, batching)
