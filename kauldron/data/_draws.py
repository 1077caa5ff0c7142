"""Counter-based random numbers: they depend only on (seed, epoch, example index).

Every example has an id, a 64-bit hash of the three; a transform folds in its own name
and counts its draws. Numbers for many examples come out of one array operation, and are
the same as for each example alone. The hash is the finaliser of SplitMix64.

Reference: Steele, Lea & Flood 2014, Fast Splittable Pseudorandom Number Generators.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_TO_UNIT = 2.0**-53
_ELEVEN = np.uint64(11)


def mix(x: np.ndarray) -> np.ndarray:
    """Hashes `u64[n]`; a bijection, so distinct inputs have distinct outputs."""
    x = x + _GOLDEN
    x ^= x >> _SHIFTS[0]
    x *= _MIX_1
    x ^= x >> _SHIFTS[1]
    x *= _MIX_2
    x ^= x >> _SHIFTS[2]
    return x


def hash_name(name: str) -> int:
    """Returns a 64-bit integer for a name, the same in every process and version."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def seed_from(seed: int, name: str) -> int:
    """Derives a 64-bit seed from another one and a name."""
    return hash_name(f"{seed}/{name}")


def example_ids(seed: int, epochs: np.ndarray | int, indices: np.ndarray) -> np.ndarray:
    """Returns the ids of examples, `u64[n]`.

    Args:
      seed: Any integer.
      epochs: `i64[n]`, or one for all.
      indices: `i64[n]`, positions in the source, before shuffling.
    """
    of_seed = np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)
    of_epoch = mix(mix(of_seed) ^ np.atleast_1d(np.asarray(epochs)).astype(np.uint64))
    return mix(of_epoch ^ indices.astype(np.uint64))


class ExampleIds:
    """The ids of some examples, hashed when they are first needed: most never are."""

    __slots__ = ("_epochs", "_hashed", "_indices", "_seed")

    def __init__(self, seed: int, epochs: np.ndarray, indices: np.ndarray) -> None:
        """See `example_ids`."""
        self._seed = seed
        self._epochs = epochs
        self._indices = indices
        self._hashed: np.ndarray | None = None

    def hashed(self) -> np.ndarray:
        """Returns `u64[n]`."""
        if self._hashed is None:
            self._hashed = example_ids(self._seed, self._epochs, self._indices)
        return self._hashed

    def __getitem__(self, rows: Any) -> ExampleIds:
        selected = ExampleIds(self._seed, self._epochs[rows], self._indices[rows])
        if self._hashed is not None:
            selected._hashed = self._hashed[rows]
        return selected

    @classmethod
    def concatenate(cls, parts: Sequence[ExampleIds]) -> ExampleIds:
        """Returns the ids of all parts."""
        seeds = {part._seed for part in parts}
        joined = cls(
            parts[0]._seed,
            np.concatenate([part._epochs for part in parts]),
            np.concatenate([part._indices for part in parts]),
        )
        if len(seeds) > 1:
            joined._hashed = np.concatenate([part.hashed() for part in parts])
        return joined


class Draws:
    """Random numbers for the rows of a batch, one stream per row.

    Each call draws anew. Two objects with the same ids draw the same numbers.
    """

    def __init__(self, ids: np.ndarray, name: str = "") -> None:
        """Starts the streams of the rows.

        Args:
          ids: `u64[n]`, see `example_ids`.
          name: Who draws; other names give independent numbers.
        """
        self._ids = mix(ids ^ np.uint64(hash_name(name))) if name else ids
        self._num_drawn = 0

    def __len__(self) -> int:
        return len(self._ids)

    def bits(self) -> np.ndarray:
        """Returns `u64[n]`, all bits random."""
        self._num_drawn += 1
        count = np.array([self._num_drawn], np.uint64)
        return mix(self._ids + count * _GOLDEN)

    def uniform(self, low: Any = 0.0, high: Any = 1.0) -> np.ndarray:
        """Returns `f64[n]` in `[low, high)`; the bounds may be arrays `[n]`."""
        unit = (self.bits() >> _ELEVEN).astype(np.float64) * _TO_UNIT
        return low + unit * (np.asarray(high) - low)

    def integers(self, low: Any, high: Any) -> np.ndarray:
        """Returns `i64[n]` in `[low, high)`; the bounds may be arrays `[n]`."""
        return np.floor(self.uniform(low, high)).astype(np.int64)

    def normal(self) -> np.ndarray:
        """Returns `f64[n]`, standard normal."""
        radius = np.sqrt(-2.0 * np.log1p(-self.uniform()))
        return radius * np.cos(2.0 * np.pi * self.uniform())

    def beta(self, a: float, b: float) -> np.ndarray:
        """Returns `f64[n]`, beta distributed."""
        return np.array([self.generator(i).beta(a, b) for i in range(len(self))])

    def generator(self, index: int) -> np.random.Generator:
        """Returns NumPy's generator for one row, always from its start.

        It is valid until the next call in this thread: setting the state of one
        generator is ten times as fast as making one.
        """
        generator = getattr(_PER_THREAD, "generator", None)
        if generator is None:
            generator = np.random.Generator(np.random.Philox(key=0))
            _PER_THREAD.generator = generator
        generator.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {
                "counter": np.zeros(4, np.uint64),
                "key": np.array([self._ids[index], 0], np.uint64),
            },
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,
            "has_uint32": 0,
            "uinteger": 0,
        }
        return generator

    def select(self, indices: Any) -> Draws:
        """Returns the streams of some of the rows, from their start."""
        return Draws(self._ids[indices])


_PER_THREAD = threading.local()
