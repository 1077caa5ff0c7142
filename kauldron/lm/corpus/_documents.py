"""Documents of a source, in its order: texts, or tokens that transforms have made."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron import data
from kauldron.data.py import base
from kauldron.lm.corpus import _rows
from kauldron.lm.text import _tokenizer

BATCH = 256


class Encoded(NamedTuple):
    """A document as it is stored.

    Attributes:
      tokens: `i[n]`; none if it is left out.
      is_learnt: Which tokens are to be learnt, `bool[n]`; `None` for all.
      num_bytes: Of its text, UTF-8.
    """

    tokens: np.ndarray
    is_learnt: np.ndarray | None
    num_bytes: int


class Documents:
    """The documents of a source, by ranges; the source is opened once.

    An element has a text, or `tokens` and perhaps `loss_mask`, as `ChatToTokens` makes
    them.

    Args:
      source: The source, with its transforms.
      key: Where the text is.
    """

    def __init__(self, source: base.DataSourceBase, key: str) -> None:
        self._batches = _plain(source, BATCH)
        self._elements = _plain(source, None)
        self._key = key

    def __len__(self) -> int:
        return self._length

    @functools.cached_property
    def _length(self) -> int:
        return len(_plain(self._elements, 1))

    @functools.cached_property
    def have_tokens(self) -> bool:
        """Whether the documents are tokens already."""
        first = _read(self._elements, 0)
        return isinstance(first, dict) and "tokens" in first and self._key not in first

    @functools.cached_property
    def have_loss_mask(self) -> bool:
        """Whether it is said which tokens are to be learnt."""
        return self.have_tokens and "loss_mask" in self._elements[0]

    @property
    def name(self) -> str:
        """What they are called."""
        return "documents" if self.have_tokens else "texts"

    def batches(self, start: int, stop: int) -> Iterator[list[Any]]:
        """Yields the documents of a range, some at a time: texts, or elements."""
        stop = min(stop, self._length)
        read = self._tokens if self.have_tokens else self._texts
        for number in range(start // BATCH, -(-stop // BATCH)):
            documents = read(number)
            before = number * BATCH
            yield documents[max(start - before, 0) : stop - before]

    def texts(self) -> Iterator[str]:
        """Yields all texts.

        Raises:
          DataError: If the documents are tokens already.
        """
        if self.have_tokens:
            raise data.DataError(
                "The documents are tokens already: there is no text to learn from."
            )
        for texts in self.batches(0, self._length):
            yield from texts

    def _tokens(self, number: int) -> list[dict[str, Any]]:
        indices = range(number * BATCH, min((number + 1) * BATCH, self._length))
        return [self._elements[i] for i in indices]

    def _texts(self, number: int) -> list[str]:
        batch = _read(self._batches, number)
        if not isinstance(batch, dict) or self._key not in batch:
            seen = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            raise data.DataKeyError(
                f"The documents have no {self._key!r}: they have {seen}. Say where their "
                "text is."
            )
        texts = batch[self._key].tolist()
        for text in texts:
            if not isinstance(text, str):
                raise data.DataError(
                    f"{self._key!r} of a document is no text: {text!r}."
                )
        return texts


def encode(
    documents: Sequence[Any],
    tokenizer: _tokenizer.Tokenizer,
    *,
    add_bos: bool,
    add_eos: bool,
) -> list[Encoded]:
    """Returns what is stored of documents, as `Documents.batches` gives them."""
    if documents and isinstance(documents[0], dict):
        return [_of_tokens(element, tokenizer) for element in documents]
    full = [text for text in documents if text]
    encoded = tokenizer.encode_batch(full, add_bos=add_bos, add_eos=add_eos)
    found = [
        Encoded(tokens, None, len(text.encode()))
        for text, tokens in zip(full, encoded, strict=True)
    ]
    empty = Encoded(np.zeros(0, np.int32), None, 0)
    return found + [empty] * (len(documents) - len(full))


def _of_tokens(element: dict[str, Any], tokenizer: _tokenizer.Tokenizer) -> Encoded:
    """Returns a document of tokens; nothing of it if nothing is to be learnt."""
    document = _rows.document_of(element, "`kd.lm.prepare`")
    tokens, is_learnt = document.tokens, None
    _rows.check_tokens(tokens, tokenizer.num_tokens, "A document")
    if "loss_mask" in element:
        is_learnt = np.asarray(element["loss_mask"], bool)
        if not is_learnt.any():
            return Encoded(tokens[:0], is_learnt[:0], 0)
    return Encoded(tokens, is_learnt, len(tokenizer.decode(tokens).encode()))


def _read(source: base.DataSourceBase, index: int) -> Any:
    try:
        return source[index]
    except TypeError:
        raise data.DataError(
            "A corpus whose transforms filter has no ranges that shards could be made "
            "of: filter it before it is prepared."
        ) from None


def _plain(source: base.DataSourceBase, batch_size: int | None) -> base.DataSourceBase:
    """Returns the documents of a source, once and in order."""
    return dataclasses.replace(
        source,
        shuffle=False,
        batch_size=batch_size,
        num_epochs=1,
        num_workers=0,
        batch_drop_remainder=False,
        shard_by_process=False,
        seed=0,
    )
