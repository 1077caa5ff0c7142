"""Shakespeare's plays as rows of tokens, and what compressors make of them."""

from __future__ import annotations

import bz2
import dataclasses
import functools
import gzip
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron import kd

TEST_PLAYS = ("twelfth-night", "king-lear")


@functools.cache
def plays(split: str, folder: str | None = None) -> tuple[str, ...]:
    """Returns the texts of a split.

    Args:
      split: `'train'`, or `'test'`, which is one comedy and one tragedy.
      folder: Where the plays are, `<genre>/<play>.md`; by default what
        `kauldron data fetch shakespeare` gets.
    """
    root = pathlib.Path(folder) if folder else kd.data.fetch("shakespeare")
    paths = sorted(root.glob("*/*.md"))
    is_test = split == "test"
    return tuple(
        path.read_text(encoding="utf-8")
        for path in paths
        if (path.stem in TEST_PLAYS) == is_test
    )


@functools.cache
def tokenizer(vocab_size: int, folder: str | None = None) -> kd.lm.Tokenizer:
    """Returns a byte-level BPE of the training plays; the same ids each time."""
    return kd.lm.Tokenizer.train(plays("train", folder), vocab_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a split: packed for training, windows that overlap for the test.

    Attributes:
      split: `'train'` or `'test'`.
      length: Tokens of a row.
      vocab_size: Of the tokenizer.
      folder: As for `plays`.
    """

    split: str
    length: int
    vocab_size: int
    folder: str | None = None

    @property
    def tokenizer(self) -> kd.lm.Tokenizer:
        """By which `kauldron lm generate --model=WORKDIR` reads and writes."""
        return tokenizer(self.vocab_size, self.folder)

    @functools.cached_property
    def all(self) -> list[Mapping[str, Any]]:
        """All rows, in the order of the plays."""
        texts = list(plays(self.split, self.folder))
        tokens = self.tokenizer.encode_batch(texts, add_bos=True, add_eos=True)
        cut: Any = kd.lm.Pack(length=self.length, method="concat_split")
        if (
            self.split == "test"
        ):  # each token is measured once, with half a row before it
            cut = kd.lm.Window(length=self.length, stride=self.length // 2)
        return cut.map_chunk([{"tokens": x} for x in tokens])

    def __len__(self) -> int:
        return len(self.all)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.all[index]


def bytes_per_token(
    split: str, *, length: int, vocab_size: int, folder: str | None = None
) -> float:
    """Returns the bytes of the texts of a split, by the targets that are measured."""
    rows = Rows(split=split, length=length, vocab_size=vocab_size, folder=folder)
    num_bytes = sum(len(text.encode()) for text in plays(split, folder))
    return num_bytes / sum(float(row["loss_mask"].sum()) for row in rows.all)


def baselines(folder: str | None = None) -> dict[str, float]:
    """Returns bits per byte of the test plays, by compressors and an n-gram model.

    Only the n-gram model knows the training plays.
    """
    train, test = (
        "".join(plays(split, folder)).encode() for split in ("train", "test")
    )
    return {
        "gzip": 8 * len(gzip.compress(test)) / len(test),
        "bz2": 8 * len(bz2.compress(test)) / len(test),
        "6-gram": ngram_bits(train, test, order=6),
    }


def ngram_bits(train: bytes, test: bytes, *, order: int) -> float:
    """Returns bits per byte of `test` under an n-gram model of the bytes of `train`.

    Orders are interpolated as Witten and Bell do (1991, doi:10.1109/18.87000): a context
    that was seen `n` times, before `t` different bytes, leaves `t / (n + t)` of its
    probability to the next shorter context.
    """
    texts = [np.frombuffer(text, np.uint8).astype(np.int64) for text in (train, test)]
    probability = np.full(len(texts[1]), 1 / 256)
    for length in range(1, order + 1):  # of a context and the byte that follows it
        seen, asked = (_codes(text, length) for text in texts)
        grams, counts = np.unique(seen, return_counts=True)
        contexts, first = np.unique(grams >> 8, return_index=True)
        totals = np.add.reduceat(counts, first)
        kinds = np.diff([*first, len(grams)])
        known = _looked_up(contexts, totals, asked >> 8)
        different = _looked_up(contexts, kinds, asked >> 8)
        count = _looked_up(grams, counts, asked)
        start = length - 1  # the first bytes have no such context
        below = probability[start:]
        mixed = (count + different * below) / np.maximum(known + different, 1)
        probability[start:] = np.where(known > 0, mixed, below)
    return float(-np.log2(probability).mean())


def _codes(text: np.ndarray, length: int) -> np.ndarray:
    """Returns each `length` bytes in a row as a number, the last byte lowest."""
    codes = np.zeros(len(text) - length + 1, np.int64)
    for i in range(length):
        codes = (codes << 8) | text[i : i + len(codes)]
    return codes


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
