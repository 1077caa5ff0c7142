"""Infinite random-access streams of examples: sources, mixtures, transforms.

A node maps positions 0, 1, 2, ... to examples. One epoch is `length` positions; after it
the order is drawn anew. Because every position can be computed alone, resuming is
starting at another number, and processes and workers just take other positions.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kauldron.data import _columns, _draws, _errors, _order
from kauldron.data._stages import Block, Stage

# Of a few large rows and what transforms make of them; about what caches hold.
_BYTES_AT_ONCE = 6 << 20


class Node(abc.ABC):
    """An endless, random access order of examples.

    Attributes:
      length: Number of positions in an epoch, >= 1.
      drops_rows: Whether some positions give no row.
      fetch_size: How many positions are computed together, from a multiple of it on;
        more than one if rows are made of several examples.
      reads_singly: Whether several rows are read one after the other.
    """

    length: int
    drops_rows: bool = False
    fetch_size: int = 1
    reads_singly: bool = False

    @property
    def num_bytes(self) -> int:
        """Memory that a copy of the data would take, roughly."""
        return 0

    @abc.abstractmethod
    def fetch(self, positions: np.ndarray) -> Block:
        """Returns the rows at positions, `i64[n]`, ascending; some may be missing."""


class Source(Node):
    """Records of a random access source, shuffled anew in every epoch."""

    def __init__(
        self,
        reader: Reader,
        *,
        seed: int,
        shuffle: bool,
        indices: range | None = None,
        skips_bad_records: bool = False,
    ) -> None:
        self._reader = reader
        self._seed = seed
        self._indices = range(len(reader)) if indices is None else indices
        self.length = len(self._indices)
        self.drops_rows = skips_bad_records
        self.reads_singly = reader.reads_singly
        self._shuffle = self._shuffled() if shuffle and self.length else None

    def _shuffled(self) -> _order.Shuffle:
        seed = _draws.seed_from(self._seed, "shuffle")
        blocks, at_once = self._reader.blocks
        if blocks is None:
            return _order.Shuffle(self.length, seed)
        return _order.BlockShuffle(blocks[np.asarray(self._indices)], at_once, seed)

    @property
    def num_bytes(self) -> int:
        return self._reader.num_bytes

    def fetch(self, positions: np.ndarray) -> Block:
        epochs, offsets = split_epochs(positions, self.length)
        if self._shuffle is not None:
            offsets = self._shuffle(epochs, offsets)
        indices = offsets * self._indices.step + self._indices.start
        ids = _draws.ExampleIds(self._seed, epochs, indices)
        if self.drops_rows:
            return self._fetch_good(positions, ids, indices, epochs)
        columns = self._reader.read_drawn(indices, epochs, self._seed)
        return Block(columns, positions, ids, indices)

    def _fetch_good(
        self,
        positions: np.ndarray,
        ids: _draws.ExampleIds,
        indices: np.ndarray,
        epochs: np.ndarray,
    ) -> Block:
        read, seed = self._reader.read_drawn, self._seed
        try:
            return Block(read(indices, epochs, seed), positions, ids, indices)
        except Exception:
            pass  # one by one: the failing record is reported below
        parts, good, bad = [], [], []
        for row in range(len(indices)):
            one = slice(row, row + 1)
            try:
                parts.append(read(indices[one], epochs[one], seed))
                good.append(row)
            except Exception as error:
                bad.append(f"example {indices[row]}: {type(error).__name__}: {error}")
        columns = _columns.concatenate(parts) if parts else []
        return Block(columns, positions[good], ids[good], indices[good], tuple(bad))


class Transformed(Node):
    """The rows of another node, after transforms.

    Large rows, such as pictures, go through all transforms a few at a time: what one of
    them leaves is still in the processor's cache when the next one takes it, and the same
    memory serves again.
    """

    def __init__(self, parent: Node, stages: Sequence[Stage]) -> None:
        self._rows_at_once = 0  # not known yet
        self._parent = parent
        self._stages = stages
        self.length = parent.length
        self.fetch_size = parent.fetch_size
        self.drops_rows = parent.drops_rows or any(s.drops_rows for s in stages)

    @property
    def num_bytes(self) -> int:
        return self._parent.num_bytes

    def fetch(self, positions: np.ndarray) -> Block:
        rows_at_once = self._rows_at_once
        if not rows_at_once or len(positions) <= rows_at_once:
            return self._run(self._parent.fetch(positions))
        starts = range(0, len(positions), rows_at_once)
        if self._parent.reads_singly:
            parts = (
                self._parent.fetch(positions[start : start + rows_at_once])
                for start in starts
            )
        else:
            whole = self._parent.fetch(positions)
            starts = range(0, max(len(whole), 1), rows_at_once)
            parts = (whole.select(slice(i, i + rows_at_once)) for i in starts)
        try:
            return Block.concatenate([self._run(part) for part in parts])
        except _errors.DataError:
            # All at once: the message then names the rows that differ.
            return self._run(self._parent.fetch(positions))

    def _run(self, block: Block) -> Block:
        if self._rows_at_once or not len(block):
            return run_stages(block, self._stages)
        before = _columns.num_bytes(block.columns)
        done = run_stages(block, self._stages)
        num_bytes = max(before, _columns.num_bytes(done.columns), 1)
        self._rows_at_once = max(_BYTES_AT_ONCE * len(block) // num_bytes, 1)
        return done


class Mix(Node):
    """Examples of several nodes in turn, in proportion to weights.

    An epoch ends when a member would start its next epoch. The others continue from
    where they were: no example is left out for good.
    """

    def __init__(
        self, members: Sequence[Node], weights: list[float], *, seed: int, shuffle: bool
    ) -> None:
        self._members = members
        self._interleave = _order.Interleave(weights)
        lengths = [member.length for member in members]
        self.length = self._interleave.longest(lengths)
        self._per_epoch = np.array(self._interleave.counts(self.length), np.int64)
        self._seed = seed
        self._shuffle = (
            _order.Shuffle(self.length, _draws.seed_from(seed, "mix"))
            if shuffle and self.length
            else None
        )
        self.drops_rows = any(member.drops_rows for member in members)

    @property
    def num_bytes(self) -> int:
        return sum(member.num_bytes for member in self._members)

    def fetch(self, positions: np.ndarray) -> Block:
        epochs, offsets = split_epochs(positions, self.length)
        if self._shuffle is not None:
            offsets = self._shuffle(epochs, offsets)
        members, inner = self._interleave(offsets)
        inner = inner + epochs * self._per_epoch[members]
        ids = _draws.ExampleIds(self._seed, epochs, offsets)
        return gather_members(self._members, members, inner, positions, ids)


class Select(Node):
    """Examples of several nodes in the order of a table."""

    def __init__(
        self, members: Sequence[Node], table: Any, *, seed: int, shuffle: bool
    ) -> None:
        self._members = members
        self._table = table
        self.length = len(table)
        self._seed = seed
        self._shuffle = (
            _order.Shuffle(self.length, _draws.seed_from(seed, "select"))
            if shuffle and self.length
            else None
        )
        self.drops_rows = any(member.drops_rows for member in members)

    @property
    def num_bytes(self) -> int:
        return sum(member.num_bytes for member in self._members)

    def fetch(self, positions: np.ndarray) -> Block:
        epochs, offsets = split_epochs(positions, self.length)
        if self._shuffle is not None:
            offsets = self._shuffle(epochs, offsets)
        chosen = np.array([self._table[int(i)] for i in offsets], np.int64)
        members, inner = chosen.reshape(-1, 2).T
        lengths = np.array([member.length for member in self._members], np.int64)
        inner = inner + epochs * lengths[members]
        ids = _draws.ExampleIds(self._seed, epochs, offsets)
        return gather_members(self._members, members, inner, positions, ids)


class FromFunction(Node):
    """Rows that a function gives for each position, e.g. a grain `MapDataset`."""

    def __init__(self, get: Callable[[int], Any], length: int, *, seed: int) -> None:
        self._get = get
        self._seed = seed
        self.length = length
        self.drops_rows = True  # grain gives `None` for what it filtered out

    def fetch(self, positions: np.ndarray) -> Block:
        rows = [self._get(int(position)) for position in positions]
        epochs, offsets = split_epochs(positions, self.length)
        ids = _draws.ExampleIds(self._seed, epochs, offsets)
        kept = np.array([i for i, row in enumerate(rows) if row is not None], np.int64)
        columns = _columns.from_rows([rows[i] for i in kept]) if len(kept) else []
        return Block(columns, positions[kept], ids[kept], offsets[kept])


class Reader(abc.ABC):
    """Reads records by index."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @property
    def num_bytes(self) -> int:
        """Memory that a copy of the data would take, roughly."""
        return 0

    @property
    def reads_singly(self) -> bool:
        """Whether several records are read one after the other, not in bulk."""
        return False

    @property
    def blocks(self) -> tuple[np.ndarray | None, int]:
        """The block of each example, and how many blocks are shuffled at once, if any."""
        return None, 0

    @abc.abstractmethod
    def read(self, indices: np.ndarray) -> _columns.Column:
        """Returns the records at indices, `i64[n]`, as columns."""

    def read_drawn(
        self, indices: np.ndarray, epochs: np.ndarray, seed: int
    ) -> _columns.Column:
        """Returns the records as some epochs have them, `i64[n]`: most are the same."""
        del epochs, seed
        return self.read(indices)


def run_stages(block: Block, stages: Sequence[Stage]) -> Block:
    """Applies transforms one after the other, until no row is left."""
    for stage in stages:
        if not len(block):
            break
        block = stage(block)
    return block


def split_epochs(positions: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epoch of each position, and the place in it."""
    first = int(positions[0]) // length
    if int(positions[-1]) // length == first:  # nearly always; division is slow
        return np.full(len(positions), first), positions - first * length
    return np.divmod(positions, length)


def gather_members(
    members: Sequence[Node],
    choice: np.ndarray,
    inner: np.ndarray,
    positions: np.ndarray,
    ids: _draws.ExampleIds,
) -> Block:
    """Returns rows of several nodes, in the order of `positions`.

    Args:
      members: The nodes.
      choice: Index of the node of each row, `i64[n]`.
      inner: Position in that node, `i64[n]`.
      positions: Positions of the rows for the caller, `i64[n]`.
      ids: Ids of the rows for the caller.
    """
    parts, places, bad = [], [], ()
    for index, member in enumerate(members):
        of_member = np.flatnonzero(choice == index)
        if not len(of_member):
            continue
        wanted, row_of = np.unique(inner[of_member], return_inverse=True)
        block = member.fetch(wanted)
        bad += block.bad_records
        if not len(block):
            continue
        # A member that filters returns fewer rows than wanted.
        found = np.searchsorted(block.positions, wanted).clip(max=len(block) - 1)
        is_there = (block.positions[found] == wanted)[row_of]
        parts.append(block.select(found[row_of][is_there]))
        places.append(of_member[is_there])
    if not parts:
        none = np.zeros(0, np.int64)
        return Block([], none, ids[:0], none, bad)
    try:
        block = Block.concatenate(parts)
    except _errors.DataError as error:
        error.add_note("The members of a mixture must give elements with equal keys.")
        raise
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    block = block.select(order)
    kept = place[order]
    return Block(block.columns, positions[kept], ids[kept], block.examples, bad)


def first_row(node: Node, name: str) -> Block:
    """Returns the first element that is not dropped; reads no more.

    Raises:
      DataError: If there is none.
    """
    for position in range(node.length):
        block = node.fetch(_order.positions_from(position, 1))
        if len(block):
            return block
    raise _errors.DataError(
        f"The filters keep none of the {node.length} examples of `{name}`."
    )
