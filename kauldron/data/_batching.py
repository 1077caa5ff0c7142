"""Batching of an order of examples: sizes, remainders, this process's rows.

The rows of the global batch are the concatenation, in order of processes, of the
batches that the processes load. So the global batch does not depend on how many
processes there are.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kauldron._base import public
from kauldron.data import _columns, _draws, _errors, _nodes, _order
from kauldron.data._stages import Block, Stage

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


class DropRemainder(enum.Enum):
    """What happens with the last examples if they do not fill a batch."""

    DROP = "drop"
    KEEP = "keep"
    PAD = "pad"

    @classmethod
    def from_field(cls, value: bool | str | DropRemainder) -> DropRemainder:
        """Returns what a config says with `True`, `False` or a name.

        Raises:
          DataError: If it is none of these.
        """
        if isinstance(value, bool):
            return cls.DROP if value else cls.KEEP
        try:
            return cls(value)
        except ValueError:
            raise _errors.DataError(
                "`batch_drop_remainder` is True or 'drop', False or 'keep', 'pad', or "
                "None (drop in training, keep in evaluation): got "
                f"{value!r}."
            ) from None


@dataclasses.dataclass(kw_only=True)
class Batching:
    """Builds the batches of one process; pickled to workers.

    Attributes:
      node: The examples.
      batch_size: Rows of the global batch; `None` for single elements.
      num_positions: Where the data end; `None` if they do not.
      remainder: What happens with the last rows.
      process: This process's index, and how many there are.
      batch_stages: Transforms of whole batches.
      late_stages: Transforms of elements that only this process's rows need, used when
        earlier ones drop rows.
    """

    node: _nodes.Node
    batch_size: int | None
    num_positions: int | None
    remainder: DropRemainder
    process: tuple[int, int]
    batch_stages: Sequence[Any] = ()
    late_stages: Sequence[Stage] = ()

    @property
    def step(self) -> int:
        """How many positions one batch of all processes takes."""
        return self.batch_size or self.process[1]

    @property
    def num_batches(self) -> int | None:
        """How many batches there are from the start, if every position gives a row."""
        return self.num_batches_from(0)

    def num_batches_from(self, start: int) -> int | None:
        """How many batches there are from a position on."""
        if self.num_positions is None:
            return None
        rest = max(self.num_positions - start, 0)
        # Single elements: every process gets as many.
        if self.batch_size is None or self.remainder is DropRemainder.DROP:
            return rest // self.step
        return -(-rest // self.step)

    def batch_at(self, start: int) -> Any:
        """Returns this process's part of the batch whose first position is `start`."""
        size, (index, count) = self.step, self.process
        if self.num_positions is not None:
            size = min(size, self.num_positions - start)
        if size < self.step and self.is_whole(size):
            index, count = 0, 1
        per_process = -(-size // count)
        if self.remainder is DropRemainder.PAD:
            per_process = self.step // count
        first = start + index * per_process
        num_rows = max(min(per_process, start + size - first), 0)
        # A process whose part is only padding still has to know what rows look like.
        rows_from = first if num_rows else start
        block = self.node.fetch(_order.positions_from(rows_from, max(num_rows, 1)))
        return self.finish(block, num_rows)

    def is_whole(self, size: int) -> bool:
        """Whether a batch of fewer rows is loaded whole by every process.

        A partial last batch rarely divides over processes and their devices; all of
        them compute it in full, which is exact for every metric.
        """
        return (
            self.process[1] > 1
            and self.remainder is DropRemainder.KEEP
            and size < self.step
        )

    def rows_of_process(self, block: Block) -> Block:
        """Returns this process's rows of a global batch that is given whole."""
        index, count = self.process
        if count == 1 or self.is_whole(len(block)):
            return block
        per_process = self.step // count
        part = slice(index * per_process, (index + 1) * per_process)
        return block.select(part) if len(block) > part.start else block.select(slice(1))

    def finish(self, block: Block, num_rows: int) -> Any:
        """Returns the batch of some rows; pads it if it is to be padded.

        Args:
          block: At least one row.
          num_rows: How many of them count; 0 if all is padding.
        """
        stacked = _columns.stack(block.columns, name_row=block.name_row)
        if self.batch_size is None:
            return _unstack(stacked)
        if self.batch_stages:
            stacked = self._run_batch_stages(stacked, block)
        if self.remainder is DropRemainder.PAD:
            length = self.step // self.process[1]
            stacked = _columns.pad(stacked, num_rows, length)
        return stacked

    def _run_batch_stages(self, batch: PyTree, block: Block) -> Any:
        for position, transform in enumerate(self.batch_stages):
            name = f"{type(transform).__name__}/batch{position}"
            try:
                batch = transform.map_batch(
                    batch, _draws.Draws(block.ids.hashed(), name)
                )
            except Exception as error:
                error.add_note(f"In the batch transform `{type(transform).__name__}`.")
                raise
        return batch


def _unstack(stacked: Any) -> Any:
    if type(stacked) is dict:
        return {key: _unstack(child) for key, child in stacked.items()}
    if isinstance(stacked, tuple):
        parts = [_unstack(part) for part in stacked]
        return type(stacked)(*parts) if hasattr(stacked, "_fields") else tuple(parts)
    return stacked[0] if stacked.dtype == object else np.asarray(stacked[0])


class PipelineParts(NamedTuple):
    """What the batches of a pipeline are made of.

    Attributes:
      source: The examples, before transforms.
      stages: Transforms of elements, in order.
      batching: How batches are made of what has been through the stages.
      seed: What random numbers depend on.
    """

    source: _nodes.Node
    stages: Sequence[Stage]
    batching: Batching
    seed: int

    @property
    def keeps_rows(self) -> bool:
        """Whether each example becomes a row, whatever it is."""
        node = self.batching.node
        return node.fetch_size == 1 and not node.drops_rows

    def batch_of(self, element: Any) -> Any:
        """Returns what the only batch would be, were this the only example.

        The source is not asked; the pipeline keeps rows.
        """
        position = _order.positions_from(0, 1)
        ids = _draws.ExampleIds(self.seed, position, position)
        block = Block(_columns.from_rows([element]), position, ids, position)
        return self.batching.finish(_nodes.run_stages(block, self.stages), 1)


public.move(DropRemainder, "kauldron.data.py")
