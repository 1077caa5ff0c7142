"""`Pack`: rows of one length, made of documents of many."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron.lm.corpus import _lengths, _rows

_METHODS = ("best_fit", "concat_split")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pack(data.ChunkTransform):
    """Fills rows with documents: little padding, and no document sees another.

    Takes elements with `tokens`, `i32[n]`, and perhaps `loss_mask`, `[n]`, true for tokens
    that are to be learnt (all by default). Gives rows with `tokens`, `targets`,
    `positions`, `segment_ids` (i32) and `loss_mask` (f32), `[length]`: see
    `docs/lm_data.md`. Keys of other names are dropped.

    `best_fit` keeps documents whole: the longest first, each goes where it leaves the
    least room. `concat_split` puts them one after the other and cuts at the ends of rows:
    no padding but in the last row of a chunk. Where a document is cut, nothing is lost:
    the last target of a piece is the first token of the next one, whose positions begin
    at 0 again.

    Attributes:
      length: Tokens of a row.
      method: `'best_fit'` or `'concat_split'`.
      too_long: What `best_fit` does with a document longer than a row: `'split'` it,
        `'keep_start'` or `'keep_end'` of it, or `'error'`. What is cut off is told, and
        counted in `num_truncated`, `i32[]` of each row.
      chunk_size: How many documents are packed together. More pack better, and take
        longer to begin after an interruption.
      max_rows_per_document: How many rows a document gives at most, on average of a
        chunk.
      num_tokens: Rows of the model's embedding, if tokens are to be checked.

    Raises:
      DataError: If a document is empty, has a token that is not in the vocabulary, or is
        too long and that is an error.

    Example:

    ```python
    ds = kd.data.py.DataSource(
        [{"tokens": np.arange(1, n)} for n in (4, 8, 5, 3)],
        shuffle=True,
        batch_size=2,
        seed=0,
        transforms=[kd.lm.Pack(length=8)],
    )
    ```
    """

    length: int
    method: str = "best_fit"
    too_long: str = "split"
    chunk_size: int = 1024
    max_rows_per_document: int = 64
    num_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("length", "chunk_size", "max_rows_per_document"):
            _rows.check_length("Pack", name, getattr(self, name))
        for name, allowed in (("method", _METHODS), ("too_long", _lengths.TOO_LONG)):
            _lengths.check_choice("Pack", name, getattr(self, name), allowed)
        if self.method == "concat_split" and self.too_long != "split":
            raise data.DataError(
                "Pack: `concat_split` cuts every document that does not fit: `too_long` "
                f"must be 'split': got {self.too_long!r}."
            )

    @property
    def max_rows(self) -> int:
        """`chunk_size * max_rows_per_document`."""
        return self.chunk_size * self.max_rows_per_document

    def map_chunk(self, elements: list[Any]) -> list[Any]:
        documents = _lengths.documents_of(elements, self.num_tokens, "Pack")
        if self.method == "concat_split":
            return [_rows.row_of(row, self.length) for row in self._cut(documents)]
        cut = _lengths.cut_off(documents, self.length, self.too_long, "Pack")
        pieces = [
            one.piece(start, start + self.length)
            for one in cut.documents
            for start in range(0, len(one.tokens), self.length)
        ]
        groups = best_fit([len(piece.tokens) for piece in pieces], self.length)
        rows = [
            _rows.row_of([pieces[i] for i in group], self.length) for group in groups
        ]
        if self.too_long in ("keep_start", "keep_end"):
            cut.count_in(rows, groups)
        return rows

    def _cut(self, documents: list[_rows.Document]) -> list[list[_rows.Document]]:
        rows: list[list[_rows.Document]] = [[]]
        room = self.length
        for one in documents:
            start = 0
            while start < len(one.tokens):
                if not room:
                    rows.append([])
                    room = self.length
                piece = one.piece(start, start + room)
                rows[-1].append(piece)
                start += len(piece.tokens)
                room -= len(piece.tokens)
        return rows


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Divides things of some lengths into groups that fit, by best-fit decreasing.

    Args:
      lengths: At most `capacity` each.
      capacity: Of a group.

    Returns:
      Groups of indices, ascending; groups in the order of their first.

    Reference: Johnson et al. 1974, Worst-case performance bounds for simple
    one-dimensional packing algorithms, doi:10.1137/0203025.
    """
    groups: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # room -> groups, as stacks
    rooms: list[int] = []  # the keys, ascending
    for index in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        place = bisect.bisect_left(rooms, lengths[index])
        if place == len(rooms):
            group, room = len(groups), capacity
            groups.append([])
        else:
            room = rooms[place]
            group = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        groups[group].append(index)
        left = room - lengths[index]
        if left:
            if left not in with_room:
                bisect.insort(rooms, left)
            with_room.setdefault(left, []).append(group)
    return sorted(map(sorted, groups))
