"""Elements made of several examples: the node of chunk transforms.

An epoch is cut into chunks of examples that follow each other. What a chunk gives depends
on it alone, and has `max_rows` positions, of which the first are taken: so a position can
still be computed alone, and says which example is next.
"""

from __future__ import annotations

import numpy as np

from kauldron.data import _columns, _draws, _errors, _nodes, _order, _stages


class Chunked(_nodes.Node):
    """What a chunk transform makes of another node's rows."""

    drops_rows = True

    def __init__(
        self, parent: _nodes.Node, stage: _stages.Regrouping, *, seed: int
    ) -> None:
        self._parent = parent
        self._stage = stage
        self._seed = seed
        self._size = stage.transform.chunk_size
        self.fetch_size = stage.transform.max_rows
        self._num_chunks = -(-parent.length // self._size)
        self.length = self._num_chunks * self.fetch_size
        self._held: tuple[int, _stages.Block] | None = None

    @property
    def num_bytes(self) -> int:
        return self._parent.num_bytes

    def fetch(self, positions: np.ndarray) -> _stages.Block:
        chunks = positions // self.fetch_size
        blocks = []
        for chunk in range(int(chunks[0]), int(chunks[-1]) + 1):
            block = self._chunk(chunk)
            wanted = positions[chunks == chunk]
            is_wanted = np.isin(block.positions, wanted)
            blocks.append(
                block if is_wanted.all() else block.select(np.flatnonzero(is_wanted))
            )
        return _stages.Block.concatenate(blocks)

    def _chunk(self, number: int) -> _stages.Block:
        """Returns all rows of a chunk, counted over all epochs."""
        held = self._held  # read once: threads may share this object
        if held is not None and held[0] == number:
            return held[1]
        epoch, of_epoch = divmod(number, self._num_chunks)
        first = of_epoch * self._size
        size = min(self._size, self._parent.length - first)
        start = epoch * self._parent.length + first
        found = self._parent.fetch(_order.positions_from(start, size))
        rows = self._stage.run(found) if len(found) else []
        if len(rows) > self.fetch_size:
            raise _errors.DataError(
                f"{self._stage.where}: a chunk of {size} examples gives {len(rows)} "
                f"elements, more than {self.fetch_size}. Use a smaller `chunk_size` than "
                f"{self._size}."
            )
        offsets = of_epoch * self.fetch_size + np.arange(len(rows))
        block = _stages.Block(
            _columns.from_rows(rows) if rows else [],
            epoch * self.length + offsets,
            _draws.ExampleIds(self._seed, np.full(len(rows), epoch), offsets),
            offsets,
            found.bad_records,
        )
        self._held = (number, block)
        return block

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": None}
