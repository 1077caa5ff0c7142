"""Holding the buffers of arrays, so that they can be saved while the steps go on.

A training step gives the buffers of its state to the next one, which writes into them
(donation). JAX does not give away a buffer of a CPU that a NumPy view refers to: the step
takes other memory, and what is in the view stays. So the view of an array is as good as a
copy of it, and costs nothing.

Devices that are not CPUs have no such views: there, arrays are copied to the host before
the next step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kauldron.checkpoints import _dtype_changes
from kauldron.ktyping import PyTree


@dataclasses.dataclass
class Held:
    """Trees whose arrays stay what they are until `release`.

    Attributes:
      trees: Name -> tree.
    """

    trees: Mapping[str, PyTree]
    _views: list[np.ndarray]

    def release(self) -> None:
        """Lets go of the memory."""
        self.trees = {}
        self._views.clear()


def hold(trees: Mapping[str, PyTree]) -> Held | None:
    """Returns trees that neither steps nor the caller can change, of the same values.

    Args:
      trees: Name -> tree, whose leaves are JAX or NumPy arrays, or numbers. NumPy arrays,
        which are few and small in a state, are copied.

    Returns:
      `None` if some array cannot be held: it is on a device that is no CPU, or several
      processes have a part of it.
    """
    if jax.process_count() > 1:
        return None
    views: list[np.ndarray] = []

    def held(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            views.extend(_views_of(leaf))
            return leaf
        if isinstance(leaf, np.ndarray):
            return np.array(leaf)
        if isinstance(leaf, np.generic | bool | int | float):
            return leaf
        raise _CannotBeHeldError

    try:
        return Held(jax.tree.map(held, dict(trees)), views)
    except _CannotBeHeldError:
        return None


class _CannotBeHeldError(Exception):
    """Some leaf has no buffer of a CPU."""


def _views_of(array: jax.Array) -> list[np.ndarray]:
    """Returns NumPy views of the buffers of an array."""
    if any(device.platform != "cpu" for device in array.sharding.device_set):
        raise _CannotBeHeldError
    if _dtype_changes.is_key(array):
        array = jax.random.key_data(array)
    views = []
    for shard in array.addressable_shards:
        view = np.asarray(shard.data)
        if view.ctypes.data != shard.data.unsafe_buffer_pointer():
            raise _CannotBeHeldError  # a copy does not keep the buffer
        views.append(view)
    return views
