"""Which parts of prompts are read next, and by which program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kauldron.serve.scheduling import _sequences
from kauldron.serve.scheduling._sequences import Row, Shape
from kauldron.serve.scheduling._sizes import Sizes

# What a call of a program costs beside its tokens, in tokens: the weights are read.
_COST_OF_A_CALL = 24


def cheapest(
    running: Sequence[_sequences.Sequence], sizes: Sizes
) -> tuple[Shape, tuple[Row, ...]]:
    """Returns the program, and the parts of prompts, that are read for least.

    The first in order are read first, under the budget of a visit.
    """
    best, best_rows, best_rate = sizes.shapes[0], (), 0.0
    for shape in sizes.shapes:
        rows = tuple(_rows(running, shape, sizes.token_budget))
        useful = sum(row.length for row in rows)
        rate = useful / (shape.rows * shape.width + _COST_OF_A_CALL)
        if rate > best_rate:
            best, best_rows, best_rate = shape, rows, rate
    return best, best_rows


def _rows(
    running: Sequence[_sequences.Sequence], shape: Shape, budget: int
) -> Iterator[Row]:
    num_rows = shape.rows
    for sequence in running:
        start, end = sequence.num_computed, len(sequence.tokens) - 1
        while start < end and num_rows and budget:
            length = min(end - start, shape.width, budget)
            yield Row(sequence, start, length)
            start, num_rows, budget = start + length, num_rows - 1, budget - length
