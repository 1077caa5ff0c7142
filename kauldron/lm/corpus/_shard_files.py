"""Token shards on disk: a folder of NumPy files, and a manifest that describes them.

manifest.json        what was made, of what; written last
plan.json            what is being made: equal for a preparation that goes on
tokenizer/           the tokenizer, as a Hugging Face folder
00000.tokens.npy     u16[n] or u32[n], documents one after the other
00000.ends.npy       i64[d], where each ends
00000.learnt.npy     bool[n], which tokens are to be learnt, if the corpus says so
00000.json           counts of the shard; written last of these
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kauldron import data
from kauldron.lm.text import _tokenizer

MANIFEST = "manifest.json"
PLAN = "plan.json"
TOKENIZER = "tokenizer"
_FORMAT = "kauldron token shards 2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What a shard, or all of them, hold.

    Attributes:
      num_documents: Documents with at least one token.
      num_empty: Those that were left out: empty texts, and documents of which nothing is
        to be learnt.
      num_tokens: `bos` and `eos` included.
      num_learnt: Tokens that are to be learnt.
      num_bytes: Of the texts, UTF-8.
      max_token: The largest id; -1 if there is none.
    """

    num_documents: int = 0
    num_empty: int = 0
    num_tokens: int = 0
    num_learnt: int = 0
    num_bytes: int = 0
    max_token: int = -1

    def __add__(self, other: Counts) -> Counts:
        """Returns the counts of both."""
        mine, others = dataclasses.asdict(self), dataclasses.asdict(other)
        max_token = max(self.max_token, other.max_token)
        total = {name: mine[name] + others[name] for name in mine}
        return Counts(**(total | {"max_token": max_token}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder of token shards holds.

    Attributes:
      fingerprint: Of the tokenizer.
      vocab_size: Number of tokens of the tokenizer.
      shards: Name -> counts.
      total: The sum.
      has_loss_mask: Whether it is said of each token whether it is to be learnt.
    """

    fingerprint: str
    vocab_size: int
    has_loss_mask: bool
    shards: dict[str, Counts]
    total: Counts

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of the file, but for its format."""
        return {
            "tokenizer": {
                "fingerprint": self.fingerprint,
                "num_tokens": self.vocab_size,
            },
            "has_loss_mask": self.has_loss_mask,
            "total": dataclasses.asdict(self.total),
            "shards": {k: dataclasses.asdict(v) for k, v in self.shards.items()},
        }


def write_shard(
    folder: pathlib.Path,
    name: str,
    documents: Sequence[np.ndarray],
    counts: Counts,
    *,
    is_learnt: np.ndarray | None = None,
) -> None:
    """Writes a shard, so that it is there as a whole or not at all.

    Args:
      folder: Of all shards.
      name: Of this one.
      documents: Tokens of each document, arrays of one dtype.
      counts: Of the shard.
      is_learnt: Which tokens are to be learnt, `bool[n]`; `None` for all.
    """
    ends = np.cumsum([len(one) for one in documents], dtype=np.int64)
    _save(folder / f"{name}.tokens.npy", np.concatenate(documents))
    _save(folder / f"{name}.ends.npy", ends)
    if is_learnt is not None:
        _save(folder / f"{name}.learnt.npy", is_learnt)
    write_json(folder / f"{name}.json", dataclasses.asdict(counts))


def read_counts(folder: pathlib.Path, name: str) -> Counts | None:
    """Returns the counts of a shard that is complete."""
    file = folder / f"{name}.json"
    return Counts(**json.loads(file.read_text("utf-8"))) if file.is_file() else None


def write_manifest(
    folder: pathlib.Path,
    tokenizer: _tokenizer.Tokenizer,
    shards: dict[str, Counts],
    *,
    has_loss_mask: bool,
) -> Manifest:
    """Writes the manifest of complete shards."""
    manifest = Manifest(
        fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.num_tokens,
        has_loss_mask=has_loss_mask,
        shards=shards,
        total=sum(shards.values(), Counts()),
    )
    write_json(folder / MANIFEST, {"format": _FORMAT, **manifest.as_dict()})
    return manifest


def read_manifest(folder: pathlib.Path) -> Manifest:
    """Reads the manifest of a folder.

    Raises:
      DataError: If there is none, or it is of another format.
    """
    file = folder / MANIFEST
    if not file.is_file():
        begun = (folder / PLAN).is_file()
        raise data.DataError(
            f"{folder} has no {MANIFEST}: "
            + (
                "`kauldron lm prepare` was interrupted. Run it again: it goes on."
                if begun
                else "it is no folder of token shards. `kauldron lm prepare` makes one."
            )
        )
    content = json.loads(file.read_text("utf-8"))
    if content.get("format") != _FORMAT:
        raise data.DataError(
            f"{file} has the format {content.get('format')!r}: this version reads "
            f"{_FORMAT!r}. Prepare the data again."
        )
    return Manifest(
        fingerprint=content["tokenizer"]["fingerprint"],
        vocab_size=content["tokenizer"]["num_tokens"],
        has_loss_mask=content["has_loss_mask"],
        shards={name: Counts(**counts) for name, counts in content["shards"].items()},
        total=Counts(**content["total"]),
    )


class Shard(NamedTuple):
    """The arrays of a shard, mapped into memory.

    Attributes:
      tokens: Documents one after the other.
      ends: Where each ends.
      is_learnt: Which tokens are to be learnt; `None` for all.
    """

    tokens: np.ndarray
    ends: np.ndarray
    is_learnt: np.ndarray | None


def open_shard(
    folder: pathlib.Path, name: str, counts: Counts, *, has_loss_mask: bool
) -> Shard:
    """Returns a shard, mapped into memory.

    Raises:
      DataError: If a file is missing, cut, or not the one that the manifest tells of.
    """
    kinds = ("tokens", "ends", "learnt") if has_loss_mask else ("tokens", "ends")
    try:
        tokens, ends, *learnt = (
            np.load(folder / f"{name}.{kind}.npy", mmap_mode="r") for kind in kinds
        )
    except (OSError, ValueError) as error:
        raise data.DataError(
            f"Shard {name!r} of {folder} cannot be read: {error}. Prepare the data again."
        ) from None
    seen = (len(ends), len(tokens))
    if learnt and len(learnt[0]) != len(tokens):
        seen = (len(ends), len(learnt[0]))
    if seen != (counts.num_documents, counts.num_tokens):
        raise data.DataError(
            f"Shard {name!r} of {folder} has {seen[0]} documents and {seen[1]} tokens; its "
            f"manifest says {counts.num_documents} and {counts.num_tokens}. Prepare the "
            "data again."
        )
    return Shard(tokens, ends, learnt[0] if learnt else None)


def dtype_for(num_tokens: int) -> np.dtype:
    """Returns the smallest dtype that holds all ids."""
    return np.dtype(np.uint16 if num_tokens <= 2**16 else np.uint32)


def write_json(file: pathlib.Path, content: Any) -> None:
    """Writes a JSON file, so that it is there as a whole or not at all."""
    _replace(file, (json.dumps(content, indent=1) + "\n").encode())


def _save(file: pathlib.Path, array: np.ndarray) -> None:
    temporary = file.with_name(f"{file.name}.part")
    with open(temporary, "wb") as stream:
        np.save(stream, array)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)


def _replace(file: pathlib.Path, content: bytes) -> None:
    temporary = file.with_name(f"{file.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, file)


def names_of(count: int) -> Sequence[str]:
    """Returns the names of shards, in order."""
    return [f"{number:05d}" for number in range(count)]
