"""Folding names into random keys."""

from __future__ import annotations

import functools
import hashlib

import jax
import numpy as np

from kauldron.ktyping import PRNGKeyArray, typechecked


@typechecked
def fold_in_str(key: PRNGKeyArray[""], data: str) -> PRNGKeyArray[""]:
    """Derives a key from `key` and a text.

    The data folded in are the first four bytes of the SHA-1 of the UTF-8 text, read as
    a big-endian `uint32`.

    Args:
      key: A raw (`UInt32["2"]`) or typed key.
      data: Any string.

    Returns:
      A key of the same kind.
    """
    return jax.random.fold_in(key, hash_str(data))


@functools.lru_cache(maxsize=4096)
def hash_str(data: str) -> np.uint32:
    """Returns the number that `fold_in_str` folds in for a text."""
    digest = hashlib.sha1(data.encode("utf-8"), usedforsecurity=False).digest()
    return np.uint32(int.from_bytes(digest[:4], "big"))


@typechecked
def random_seed(key: PRNGKeyArray[""]) -> int:
    """Returns an integer in `[0, 2**32)` drawn from `key`, for NumPy and grain."""
    return int(jax.random.bits(key, dtype=np.uint32))
