"""The help texts that Python ships, as rows of bytes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class PythonDocs:
    """Pieces of Python's help topics (`help("LOOPING")`), 0.45 MB of English and code.

    An element is `{"tokens": i32[length], "targets": i32[length 1]}`: bytes, and the byte
    that follows each of them.

    Attributes:
      split: `'train'`, or `'test'` (every tenth topic).
      length: Bytes of a piece.
      stride: From the beginning of a piece to that of the next.
    """

    split: str
    length: int = 256
    stride: int = 256

    def __post_init__(self) -> None:
        if self.split not in ("train", "test"):
            raise ValueError(f"`split` is 'train' or 'test': got {self.split!r}.")

    @functools.cached_property
    def text(self) -> bytes:
        """The topics of the split, one after the other."""
        from pydoc_data import topics

        is_test = self.split == "test"
        names = [
            name
            for i, name in enumerate(sorted(topics.topics))
            if (i % 10 == 0) == is_test
        ]
        return "\n\n".join(topics.topics[name] for name in names).encode()

    def __len__(self) -> int:
        return (len(self.text) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = index * self.stride
        piece = self.text[start : start + self.length + 1]
        ids = np.frombuffer(piece, np.uint8).astype(np.int32)
        return {"tokens": ids[:-1], "targets": ids[1:, None]}
