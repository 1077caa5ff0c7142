"""Drafts of the next tokens, looked up in what a row has so far.

Reference: Saxena 2023, Prompt Lookup Decoding; Leviathan et al. 2023, Fast Inference from
Transformers via Speculative Decoding, arXiv:2211.17192, for why verified drafts are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

# What is looked up: the last tokens, as many as possible of these.
_LENGTHS = (4, 3, 2)


class Lookup:
    """Where the last tokens of a row stood before.

    Args:
      tokens: The row; it grows.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = tokens
        self._places: dict[tuple[int, ...], int] = {}
        self._num_known = 0

    def propose(self, most: int) -> list[int]:
        """Returns the tokens that came after the same ones before, at most so many."""
        tokens = self._tokens
        # The last tokens themselves are not looked at: nothing comes after them yet.
        for end in range(self._num_known + 1, len(tokens)):
            for length in _LENGTHS:
                if length <= end:
                    self._places[tuple(tokens[end - length : end])] = end
        self._num_known = max(len(tokens) - 1, 0)
        for length in _LENGTHS:
            place = self._places.get(tuple(tokens[-length:]))
            if place is not None and length <= len(tokens):
                return list(tokens[place : place + most])
        return []
