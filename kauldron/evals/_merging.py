"""Asynchronous merging of batch states, without making the devices wait."""

from __future__ import annotations

import collections
from typing import Any

import jax

from kauldron import sharding
from kauldron.step import auxiliaries

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

    def add(self, aux: auxiliaries.AuxiliariesState) -> None:
        """Adds the states of a batch; waits for those of an earlier one at most."""
        for leaf in jax.tree.leaves(aux):
            if _is_small(leaf):
                leaf.copy_to_host_async()
        self._waiting.append(aux)
        if len(self._waiting) > _NUM_WAITING:
            self._merge_first()

    def result(self) -> Any:
        """Returns the states of all batches; `None` if there was none."""
        while self._waiting:
            self._merge_first()
        return self._merged

    def _merge_first(self) -> None:
        aux = _fetch_small(self._waiting.popleft())
        # A metric whose `merge` fails is reported when computed; others are unaffected.
        self._merged = aux if self._merged is None else self._merged.merge_each(aux)


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
