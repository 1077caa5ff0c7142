"""Documents that are too long, empty, or have tokens of another vocabulary."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron import data
from kauldron._base import console, errors
from kauldron.lm.corpus import _rows

TOO_LONG = ("split", "keep_start", "keep_end", "error")


@dataclasses.dataclass(frozen=True)
class Cut:
    """Documents that fit, and how many tokens each lost."""

    documents: list[_rows.Document]
    lost: list[int]

    def count_in(
        self, rows: Sequence[dict[str, np.ndarray]], groups: Sequence[Sequence[int]]
    ) -> None:
        """Adds `num_truncated` to rows that were made of groups of the documents."""
        for row, group in zip(rows, groups, strict=True):
            row["num_truncated"] = np.asarray(
                sum(self.lost[i] for i in group), np.int32
            )


def cut_off(
    documents: Sequence[_rows.Document], length: int, too_long: str, owner: str
) -> Cut:
    """Returns documents that are no longer than a row, or as they are if 'split'.

    Raises:
      DataError: If one is longer, and that is an error.
    """
    excess = [max(len(one.tokens) - length, 0) for one in documents]
    if too_long == "split" or not any(excess):
        return Cut(list(documents), [0] * len(excess))
    if too_long == "error":
        number = next(i for i, lost in enumerate(excess) if lost)
        raise data.DataError(
            f"{owner}: document {number} of the chunk has {length + excess[number]} tokens, "
            f"more than the {length} of a row. Use a larger `length`, or say what is to "
            f"be done: `too_long` is one of {list(TOO_LONG)}."
        )
    kept = [
        one.piece(lost, len(one.tokens))
        if too_long == "keep_end"
        else one.piece(0, length)
        for one, lost in zip(documents, excess, strict=True)
    ]
    tell_once(
        owner,
        f"{owner}: {sum(map(bool, excess))} of the first {len(excess)} documents are longer "
        f"than {length} tokens: {sum(excess)} tokens are cut off. Rows count theirs in "
        "`num_truncated`.",
    )
    return Cut(kept, excess)


_told: set[str] = set()


def tell_once(about: str, message: str) -> None:
    """Prints a warning, the first time that it is about this."""
    if about not in _told:
        _told.add(about)
        console.warn(message)


def check_choice(owner: str, name: str, value: str, allowed: Sequence[str]) -> None:
    """Raises `DataError` unless a name is one of those that are known."""
    if value not in allowed:
        raise data.DataError(
            f"{owner}: `{name}` is one of {list(allowed)}: got {value!r}."
            f"{errors.did_you_mean(str(value), allowed)}"
        )


def documents_of(
    elements: Sequence[Any], num_tokens: int | None, owner: str
) -> list[_rows.Document]:
    """Returns the documents of elements.

    Raises:
      DataError: If one is none, is empty, or has a token that is not in a vocabulary.
    """
    documents = [_rows.document_of(element, owner) for element in elements]
    for index, one in enumerate(documents):
        if not len(one.tokens):
            raise data.DataError(
                f"{owner}: document {index} of the chunk has no tokens. Add `eos` when "
                "tokenizing, or filter empty texts out."
            )
        if num_tokens is not None:
            where = f"{owner}: document {index} of the chunk"
            _rows.check_tokens(one.tokens, num_tokens, where)
    return documents
