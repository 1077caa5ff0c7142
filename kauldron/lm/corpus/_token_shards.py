"""`TokenShards`: batches of prepared tokens, mapped from disk."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from kauldron import data
from kauldron.data.py import base
from kauldron.lm.corpus import _rows, _shard_files
from kauldron.lm.text import _tokenizer


@dataclasses.dataclass(frozen=True)
class TokenShards(base.DataSourceBase):
    """Tokens that `kauldron lm prepare` wrote, mapped into memory.

    With `length`, the documents of all shards stand one after the other, cut into rows:
    `tokens`, `targets`, `positions`, `segment_ids` and `loss_mask`, `[length]`, as `Pack`
    gives them. Rows have random access, so that they are shuffled over all data, and each
    process reads its own only. Without, an element is a document, `tokens` `i32[n]`, for
    `Pack` or `Window` among the transforms; of conversations, `loss_mask` `bool[n]` too.

    Attributes:
      path: The folder.
      length: Tokens of a row; `None` gives documents.
      tokenizer: If given, the shards must be made with it.
      num_tokens: Rows of the model's embedding, if ids are to be checked.

    Raises:
      DataError: If there are no shards, they were made with another tokenizer, or hold ids
        that the model does not have.

    Example:

    ```python
    ds = kd.lm.TokenShards("shards", length=512, shuffle=True, batch_size=16)
    ```
    """

    path: Any
    length: int | None = dataclasses.field(default=None, kw_only=True)
    tokenizer: _tokenizer.Tokenizer | None = dataclasses.field(
        default=None, kw_only=True
    )
    num_tokens: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length is not None:
            _rows.check_length("TokenShards", "length", self.length)

    @functools.cached_property
    def manifest(self) -> _shard_files.Manifest:
        """What the folder holds: counts, and the tokenizer's fingerprint."""
        return _shard_files.read_manifest(pathlib.Path(self.path))

    @functools.cached_property
    def data_source(self) -> Any:
        manifest = self.manifest
        tokenizer = self.tokenizer
        if tokenizer is not None and tokenizer.fingerprint != manifest.fingerprint:
            raise data.DataError(
                f"The shards in {self.path} were made with another tokenizer: they have the "
                f"fingerprint {manifest.fingerprint!r} ({manifest.vocab_size} tokens), "
                f"yours {tokenizer.fingerprint!r} ({tokenizer.num_tokens} tokens). Use the "
                f"one in {pathlib.Path(self.path) / _shard_files.TOKENIZER}, or prepare the "
                "data again."
            )
        if self.num_tokens is not None and manifest.total.max_token >= self.num_tokens:
            raise data.DataError(
                f"The shards in {self.path} have the token {manifest.total.max_token}: the "
                f"model has embeddings for the ids 0 to {self.num_tokens - 1}."
            )
        river = _River(pathlib.Path(self.path), manifest)
        return river if self.length is None else _CutRiver(river, self.length)


@dataclasses.dataclass
class _River:
    """All documents, one after the other; an element is one."""

    folder: pathlib.Path
    manifest: _shard_files.Manifest

    @functools.cached_property
    def _shards(self) -> list[_shard_files.Shard]:
        has_loss_mask = self.manifest.has_loss_mask
        return [
            _shard_files.open_shard(
                self.folder, name, counts, has_loss_mask=has_loss_mask
            )
            for name, counts in self.manifest.shards.items()
        ]

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Where shards begin, and the end, in tokens, `i64[n + 1]`."""
        return np.cumsum([0, *(len(shard.tokens) for shard in self._shards)])

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Where documents end, `i64[d]`."""
        pairs = zip(self._shards, self._starts, strict=False)
        return np.concatenate([shard.ends + start for shard, start in pairs])

    def tokens(self, start: int, end: int) -> np.ndarray:
        """Returns the tokens from one place to another, `i32[n]`."""
        found = self._range([shard.tokens for shard in self._shards], start, end)
        return found.astype(np.int32)

    def is_learnt(self, start: int, end: int) -> np.ndarray | None:
        """Returns which of these are to be learnt, `bool[n]`; `None` for all."""
        if not self.manifest.has_loss_mask:
            return None
        return self._range([shard.is_learnt for shard in self._shards], start, end)

    def _range(self, arrays: list[Any], start: int, end: int) -> np.ndarray:
        shard = bisect.bisect_right(self._starts, start) - 1
        parts = []
        while start < end:
            first, last = self._starts[shard], min(end, self._starts[shard + 1])
            parts.append(arrays[shard][start - first : last - first])
            start, shard = last, shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def __len__(self) -> int:
        return self.manifest.total.num_documents

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        start, end = int(self.ends[index - 1]) if index else 0, int(self.ends[index])
        is_learnt = self.is_learnt(start, end)
        element = {"tokens": self.tokens(start, end)}
        if is_learnt is None:
            return element
        return {**element, "loss_mask": np.array(is_learnt)}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "manifest": self.manifest}

    def __repr__(self) -> str:
        return f"the {len(self)} documents of {self.folder}"


@dataclasses.dataclass
class _CutRiver:
    """Rows of one length."""

    river: _River
    length: int

    def __len__(self) -> int:
        return -(-self.river.manifest.total.num_tokens // self.length)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        num_tokens, ends = self.river.manifest.total.num_tokens, self.river.ends
        start = index * self.length
        end = min(start + self.length, num_tokens)
        with_next = self.river.tokens(start, min(end + 1, num_tokens))
        places = np.arange(start, end)
        documents = np.searchsorted(ends, places, side="right")
        first = documents[0]
        begins = np.concatenate([[start], ends[first : documents[-1]]])
        numbers = documents - first
        has_next = places + 1 != ends[documents]
        size = end - start
        row = {key: np.zeros(self.length, np.int32) for key in _rows.KEYS[:-1]}
        loss_mask = np.zeros(self.length, np.float32)
        row["tokens"][:size] = with_next[:size]
        row["targets"][: len(with_next) - 1] = with_next[1:]
        row["targets"][:size] *= has_next
        row["positions"][:size] = places - begins[numbers]
        row["segment_ids"][:size] = numbers + 1
        loss_mask[:size] = has_next
        is_learnt = self.river.is_learnt(start, start + len(with_next))
        if is_learnt is not None:
            loss_mask[: len(with_next) - 1] *= is_learnt[1:]
        return {**row, "loss_mask": loss_mask}

    def __repr__(self) -> str:
        return f"rows of {self.length} tokens in {self.river.folder}"
