"""Rows of a batch of language models: documents one after the other, then padding.

Every row has five arrays `[length]`:

- `tokens`, i32; 0 in the padding.
- `targets`, i32: the next token of the same document; 0 where there is none.
- `positions`, i32: place in the piece of a document that stands in the row, from 0 on.
- `segment_ids`, i32: 1, 2, ... for the documents of the row, 0 for padding.
- `loss_mask`, f32: 1 where the target is to be learnt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron import data

KEYS = ("tokens", "targets", "positions", "segment_ids", "loss_mask")


class Document(NamedTuple):
    """The tokens of a document, and which of them a model is to learn.

    Attributes:
      tokens: `i32[n]`.
      targets: `i32[n]`, the next ones; 0 behind the last.
      loss_mask: `f32[n]`, of the targets.
    """

    tokens: np.ndarray
    targets: np.ndarray
    loss_mask: np.ndarray

    def piece(self, start: int, end: int) -> Document:
        """Returns a part, whose last target is the first token behind it."""
        return Document(*(array[start:end] for array in self))


def document_of(element: Mapping[str, Any], owner: str) -> Document:
    """Returns the document of an element: `tokens`, and perhaps `loss_mask`.

    Args:
      element: `tokens` `i[n]`; `loss_mask` `[n]`, true where a token is to be learnt.
      owner: Who asks, for messages.

    Raises:
      DataError: If they are missing, or no row of whole numbers.
    """
    tokens = np.asarray(element["tokens"]) if "tokens" in element else None
    if tokens is None or tokens.ndim != 1 or not _are_whole(tokens):
        seen = (
            f"the keys {sorted(element)}"
            if tokens is None
            else f"`tokens` {tokens.dtype}{list(tokens.shape)}"
        )
        raise data.DataError(
            f"{owner} takes elements with `tokens`, whole numbers `[n]`: got {seen}. "
            "`kd.lm.Tokenize` makes them of texts."
        )
    mask = element.get("loss_mask")
    is_learnt = np.ones(len(tokens)) if mask is None else np.asarray(mask)
    if is_learnt.shape != tokens.shape:
        raise data.DataError(
            f"{owner}: an element has {len(tokens)} tokens, and a `loss_mask` of shape "
            f"{is_learnt.shape}."
        )
    return document(tokens, is_learnt)


def document(tokens: np.ndarray, is_learnt: np.ndarray) -> Document:
    """Returns a document: its targets are its tokens, shifted by one."""
    targets, loss_mask = (
        np.zeros(len(tokens), np.int32),
        np.zeros(len(tokens), np.float32),
    )
    targets[:-1] = tokens[1:]
    loss_mask[:-1] = is_learnt[1:]
    return Document(tokens.astype(np.int32, copy=False), targets, loss_mask)


def row_of(documents: Sequence[Document], length: int) -> dict[str, np.ndarray]:
    """Returns a row of documents that fit."""
    row: dict[str, np.ndarray] = {
        key: np.zeros(length, np.float32 if key == "loss_mask" else np.int32)
        for key in KEYS
    }
    start = 0
    for number, one in enumerate(documents, 1):
        end = start + len(one.tokens)
        row["tokens"][start:end] = one.tokens
        row["targets"][start:end] = one.targets
        row["loss_mask"][start:end] = one.loss_mask
        row["positions"][start:end] = np.arange(end - start)
        row["segment_ids"][start:end] = number
        start = end
    return row


def check_tokens(tokens: np.ndarray, num_tokens: int, where: str) -> None:
    """Raises `DataError` if a token is not in a vocabulary."""
    if len(tokens) and not 0 <= (low := int(tokens.min())) <= tokens.max() < num_tokens:
        seen = low if low < 0 else int(tokens.max())
        raise data.DataError(
            f"{where} has the token {seen}: the vocabulary has the ids 0 to "
            f"{num_tokens - 1}. Was it made with another tokenizer?"
        )


def check_length(owner: str, name: str, value: int, *, at_least: int = 1) -> None:
    """Raises `DataError` unless a number is large enough."""
    if value < at_least:
        raise data.DataError(
            f"{owner}: `{name}` must be at least {at_least}: got {value}."
        )


def _are_whole(tokens: np.ndarray) -> bool:
    return tokens.dtype.kind in "iu" or not len(tokens)
