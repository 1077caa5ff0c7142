"""Rows of tokens of which only the shapes matter."""

from __future__ import annotations

import numpy as np


class ZeroRows:
    """`{"tokens": i32[length], "targets": i32[length, 1]}`, all zero."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return 1024

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        tokens = np.zeros(self.length, np.int32)
        return {"tokens": tokens, "targets": tokens[:, None]}
