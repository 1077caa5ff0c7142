"""`Window`: rows of one length, cut out of documents."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from kauldron import data
from kauldron.lm.corpus import _lengths, _rows


def windows_of(one: _rows.Document, length: int, stride: int) -> list[_rows.Document]:
    """Returns the windows of a document; each target is learnt in the first that has it."""
    size = len(one.tokens)
    last = max(size - length, 0)
    starts = [*range(0, last, stride), last]
    found = []
    seen = 0
    for start in starts:
        piece = one.piece(start, start + length)
        mask = piece.loss_mask.copy()
        mask[: max(seen - start, 0)] = 0
        found.append(_rows.Document(piece.tokens, piece.targets, mask))
        seen = start + len(piece.tokens)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(data.ChunkTransform):
    """Cuts documents into rows that may overlap, one window a row.

    Windows begin at 0, `stride`, 2 `stride`, ...; the last one is moved so that it ends
    with the document. Every target is learnt once, in the first window that has it: with
    `stride < length` the tokens before it are context. So the mean loss of all windows is
    the loss of the document, with at least `length - stride` tokens of context where
    there are as many.

    Takes and gives what `Pack` does.

    Attributes:
      length: Tokens of a window; shorter documents are padded.
      stride: From the beginning of a window to that of the next, at most `length`;
        `length` unless given.
      chunk_size: How many documents are cut together.
      max_rows_per_document: How many windows a document gives at most, on average of a
        chunk.
      num_tokens: Rows of the model's embedding, if tokens are to be checked.

    Raises:
      DataError: If numbers don't fit, or a document is empty or has a token that is not in
        the vocabulary.
    """

    length: int
    stride: int | None = None
    chunk_size: int = 16
    max_rows_per_document: int = 4096
    num_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("length", "chunk_size", "max_rows_per_document"):
            _rows.check_length("Window", name, getattr(self, name))
        if self.stride is not None and not 1 <= self.stride <= self.length:
            raise data.DataError(
                f"Window: `stride` must be between 1 and `length`, {self.length}, or "
                f"tokens between windows would be left out: got {self.stride}."
            )

    @property
    def max_rows(self) -> int:
        """`chunk_size * max_rows_per_document`."""
        return self.chunk_size * self.max_rows_per_document

    def map_chunk(self, elements: list[Mapping[str, Any]]) -> list[Any]:
        documents = _lengths.documents_of(elements, self.num_tokens, "Window")
        stride = self.stride or self.length
        windows = (windows_of(one, self.length, stride) for one in documents)
        return [
            _rows.row_of([window], self.length)
            for window in itertools.chain.from_iterable(windows)
        ]
