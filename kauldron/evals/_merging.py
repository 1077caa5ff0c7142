"""Asynchronous merging of batch states, without making the devices wait."""

from __future__ import annotations

import collections
from typing import Any

import jax

from kauldron import sharding
from kauldron.step import auxiliaries, packed_states, state_trees

# How many batches' states stay on the devices, so that the host finds them ready.
_NUM_WAITING = 2

# Larger arrays are fetched by the states themselves, which may not need them: pictures.
_MAX_SMALL_BYTES = 2**16


class Merging:
    """Merged states, a few batches behind.

    States travel to the host while the devices work on later batches; there they are
    added up in f64 and int64, see `metrics.State`.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[auxiliaries.AuxiliariesState] = (
            collections.deque()
        )
        self._merged: auxiliaries.AuxiliariesState | None = None
        self._alike: _Alike | None = None

    def add(self, aux: auxiliaries.AuxiliariesState) -> None:
        """Adds the states of a batch; waits for those of an earlier one at most."""
        packed = aux.packed
        if packed is not None:
            packed.start_transfer()
        for leaf in jax.tree.leaves(aux) if packed is None else packed.others:
            if _is_small(leaf):
                leaf.copy_to_host_async()
        self._waiting.append(aux)
        if len(self._waiting) > _NUM_WAITING:
            self._merge_first()

    def result(self) -> Any:
        """Returns the states of all batches; `None` if there was none."""
        while self._waiting:
            self._merge_first()
        self._finish_alike()
        return self._merged

    def _merge_first(self) -> None:
        aux = self._waiting.popleft()
        packed = aux.packed
        if packed is not None:
            if self._alike is None or self._alike.layout != packed.layout:
                self._finish_alike()
                self._alike = _Alike(packed.layout)
            if self._alike.add(packed):
                return
        self._finish_alike()
        self._merge(_fetch_small(aux))

    def _finish_alike(self) -> None:
        if self._alike is not None and (states := self._alike.result()) is not None:
            self._merge(states)
        self._alike = None

    def _merge(self, aux: auxiliaries.AuxiliariesState) -> None:
        # A metric whose `merge` fails is reported when computed; others are unaffected.
        self._merged = aux if self._merged is None else self._merged.merge_each(aux)


class _Alike:
    """Merged states of batches that were packed alike."""

    def __init__(self, layout: packed_states.Layout) -> None:
        self.layout = layout
        self._sums = packed_states.Sums(layout)
        self._others: list[Any] = []  # states that do not add up
        self._first: packed_states.PackedStates | None = None

    def add(self, packed: packed_states.PackedStates) -> bool:
        """Adds the states of a batch; `False` if they must be merged one by one."""
        if not self._sums.add(packed.row):
            return False
        if self._first is None:
            self._first = packed
        if not self._sums.is_complete:
            states = self._sums.split(_fetch_small(packed.tree))
            if self._others:
                states = state_trees.merge_each(self._others, states)
            self._others = states
        return True

    def result(self) -> auxiliaries.AuxiliariesState | None:
        """Returns the merged states; those of a single batch as they are."""
        if self._first is None:
            return None
        if self._sums.num_rows == 1:
            return _fetch_small(self._first.tree)
        return self._sums.join(self._others)


def _fetch_small(tree: Any) -> Any:
    """Returns the tree with its small arrays on the host, in a single transfer."""
    leaves, structure = jax.tree.flatten(tree)
    small = [i for i, leaf in enumerate(leaves) if _is_small(leaf)]
    fetched = sharding.to_host([leaves[i] for i in small])
    for i, leaf in zip(small, fetched, strict=True):
        leaves[i] = leaf
    return structure.unflatten(leaves)


def _is_small(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and leaf.nbytes <= _MAX_SMALL_BYTES
