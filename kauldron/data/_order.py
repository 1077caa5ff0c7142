"""Shuffling as a function of the position: no state, nothing to step through."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np

from kauldron.data import _draws

# Up to here a permutation is held in memory (8 bytes an example, two epochs at most).
_MAX_HELD = 2**22
_NUM_ROUNDS = 4


class Shuffle:
    """A permutation of `range(length)` for every epoch, drawn from the seed.

    Args:
      length: Number of examples, >= 1.
      seed: Any integer.
    """

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self._half_bits = max(1, ((length - 1).bit_length() + 1) // 2)
        self._held: dict[int, np.ndarray] = {}

    def __call__(self, epochs: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Returns the example at each offset of its epoch, `i64[n]`."""
        if not self._is_held:
            return self._by_cipher(epochs, offsets)
        first, last = int(epochs[0]), int(epochs[-1])
        if first == last and (epochs == first).all():
            return self._permutation(first).take(offsets)
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            of_epoch = epochs == epoch
            indices[of_epoch] = self._permutation(int(epoch)).take(offsets[of_epoch])
        return indices

    def _permutation(self, epoch: int) -> np.ndarray:
        permutation = self._held.get(epoch)
        if permutation is None:
            key = np.array([self._seed & 0xFFFFFFFFFFFFFFFF, epoch], dtype=np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            permutation = self._draw(generator)
            # Copied before it changes: threads may share this object.
            newest = list(self._held.items())[-1:]
            self._held = dict([*newest, (epoch, permutation)])
        return permutation

    @property
    def _is_held(self) -> bool:
        return self._length <= _MAX_HELD

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        return generator.permutation(self._length)

    def _by_cipher(self, epochs: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        # A Feistel network permutes the next power of four; values outside the range
        # are encrypted again until they fall inside ("cycle walking").
        keys = _draws.example_ids(self._seed, epochs, np.zeros(1, np.int64))
        keys = np.broadcast_to(keys, offsets.shape)
        values = self._encrypt(offsets.astype(np.uint64), keys)
        outside = values >= np.uint64(self._length)
        while outside.any():
            values[outside] = self._encrypt(values[outside], keys[outside])
            outside = values >= np.uint64(self._length)
        return values.astype(np.int64)

    def _encrypt(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        bits = np.uint64(self._half_bits)
        mask = np.uint64((1 << self._half_bits) - 1)
        left, right = values >> bits, values & mask
        for i in range(_NUM_ROUNDS):
            salt = np.array([i + 1], np.uint64) << np.uint64(56)
            left, right = right, left ^ (_draws.mix(keys ^ salt ^ right) & mask)
        return (left << bits) | right

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": {}}  # workers draw their own permutations


class BlockShuffle(Shuffle):
    """A permutation that goes through blocks of examples, a few blocks at a time.

    Blocks are in random order; the examples of those that are open together are mixed.

    Args:
      blocks: The block of each example, `i64[n]`, counted from 0.
      at_once: How many blocks are open together.
      seed: Any integer.
    """

    def __init__(self, blocks: np.ndarray, at_once: int, seed: int) -> None:
        super().__init__(len(blocks), seed)
        self._blocks = blocks
        self._at_once = at_once

    @property
    def _is_held(self) -> bool:
        return True  # as the blocks are

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        turn_of_block = generator.permutation(int(self._blocks.max()) + 1)
        turns = turn_of_block[self._blocks] // self._at_once
        return np.lexsort((generator.permutation(self._length), turns))


class Interleave:
    """Which member of a mixture a position takes, in proportion to the weights.

    After any number of positions every member has been taken as often as its weight
    says, to within a few examples; which one is a function of the position.

    Args:
      weights: Positive numbers, of any sum.
    """

    def __init__(self, weights: list[float]) -> None:
        total = sum(Fraction(w) for w in weights)
        rest = total
        self._shares: list[tuple[int, int]] = []
        for weight in weights:
            share = (Fraction(weight) / rest).limit_denominator(10**6)
            self._shares.append((share.numerator, share.denominator))
            rest = rest - Fraction(weight)
        self._shares[-1] = (1, 1)

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the member of each position, and its position in that member."""
        members = np.empty(positions.shape, np.int64)
        inner = np.empty(positions.shape, np.int64)
        open_rows = np.arange(len(positions))
        remaining = positions
        for member, (numerator, denominator) in enumerate(self._shares):
            before = -(-remaining * numerator // denominator)
            after = -(-(remaining + 1) * numerator // denominator)
            taken = after > before
            members[open_rows[taken]] = member
            inner[open_rows[taken]] = before[taken]
            open_rows = open_rows[~taken]
            remaining = (remaining - before)[~taken]
        return members, inner

    def counts(self, num_positions: int) -> list[int]:
        """Returns how often each member is taken in the first positions."""
        counts, remaining = [], num_positions
        for numerator, denominator in self._shares:
            count = -(-remaining * numerator // denominator)
            counts.append(count)
            remaining -= count
        return counts

    def longest(self, lengths: list[int]) -> int:
        """Returns how many positions fit until a member would be exhausted."""
        low, high = 0, sum(lengths)
        while low < high:
            middle = (low + high + 1) // 2
            counts = self.counts(middle)
            if all(c <= n for c, n in zip(counts, lengths, strict=True)):
                low = middle
            else:
                high = middle - 1
        return low


@functools.lru_cache(maxsize=8)
def _arange(size: int) -> np.ndarray:
    positions = np.arange(size)
    positions.setflags(write=False)
    return positions


def positions_from(start: int, size: int) -> np.ndarray:
    """Returns `start, start + 1, ...`, `i64[size]`."""
    return _arange(size) + start
