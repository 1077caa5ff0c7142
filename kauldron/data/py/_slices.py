"""`SliceDataset`: a subset of the examples, chosen before shuffling."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron.data import _errors, _nodes, _stages


class SliceDataset:
    """Takes some examples of the source: `SliceDataset([start,] stop[, step])`.

    Used as one of the `transforms`, wherever it stands in the list. It is applied before
    shuffling: the examples stay the same in all epochs, and disjoint slices are disjoint
    datasets.

    Args:
      *args: As of the builtin `slice`; negative numbers count from the end.

    Example:

    ```python
    train_ds = kd.data.py.DataSource(
        source, shuffle=True, transforms=[kd.data.py.SliceDataset(1000, None)]
    )
    ```
    """

    def __init__(self, *args: int | None) -> None:
        self.slice = slice(*args)
        if self.slice.step is not None and self.slice.step < 1:
            raise _errors.DataError(
                f"SliceDataset: `step` must be at least 1: got {self.slice.step}."
            )

    def __repr__(self) -> str:
        parts = (self.slice.start, self.slice.stop, self.slice.step)
        return f"SliceDataset({', '.join(map(repr, parts))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SliceDataset) and self.slice == other.slice

    def __hash__(self) -> int:
        return hash(repr(self))


def without(transforms: object) -> Any:
    """Returns the transforms that are not slices."""
    if isinstance(transforms, Mapping):
        transforms = list(transforms.values())
    if not isinstance(transforms, list | tuple):
        return transforms
    return [t for t in transforms if not isinstance(t, SliceDataset)]


def only(transforms: Any) -> list[SliceDataset]:
    """Returns the transforms that are slices."""
    if isinstance(transforms, Mapping):
        transforms = list(transforms.values())
    return [t for t in transforms if isinstance(t, SliceDataset)]


def indices(length: int, transforms: object) -> range:
    """Returns which of `length` examples the slices among the transforms leave.

    Raises:
      DataError: If none is left.
    """
    slices = only(transforms)
    left = range(length)
    for transform in slices:
        left = left[transform.slice]
    if length and not left:
        raise _errors.DataError(f"{slices} leaves none of the {length} examples.")
    return left


def apply(node: _nodes.Node, transforms: object) -> _nodes.Node:
    """Returns the part of a node that the slices among the transforms leave."""
    left = indices(node.length, transforms)
    return node if left == range(node.length) else _Sliced(node, left)


class _Sliced(_nodes.Node):
    def __init__(self, parent: _nodes.Node, left: range) -> None:
        self._parent = parent
        self._left = left
        self.length = len(left)
        self.drops_rows = parent.drops_rows

    @property
    def num_bytes(self) -> int:
        return self._parent.num_bytes

    def fetch(self, positions: np.ndarray) -> _stages.Block:
        epochs, offsets = _nodes.split_epochs(positions, self.length)
        inner = offsets * self._left.step + self._left.start
        inner = inner + epochs * self._parent.length
        block = self._parent.fetch(inner)
        kept = np.searchsorted(inner, block.positions)
        return dataclasses.replace(block, positions=positions[kept])
