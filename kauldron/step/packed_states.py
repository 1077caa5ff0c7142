"""`PackedStates`: the small arrays that a step has measured, as one array.

Each array that a program returns costs: it becomes an object, and is fetched on its own.
Twenty losses and metrics are sixty of a few bytes. Inside jit, `pack` lays those of 32 bits
end to end; on the host they are views of what was fetched at once.

Most states merge by adding up their arrays (`State.adds_up`): `Sums` adds whole rows.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from kauldron import sharding
from kauldron.ktyping import PyTree
from kauldron.metrics import base_state

# Larger arrays travel on their own: copying them would cost more.
_MAX_PACKED_SIZE = 1024

# What is packed, by what it is added up as on the host (`metrics.exact_sums`).
_GROUPS = {"float32": 0, "int32": 1, "bool": 1, "uint32": 2}
_SEEN_AS = (np.float32, np.int32, np.uint32)
_NOTHING = np.zeros(0, np.uint32)
_SUMMED_AS = (np.float64, np.int64, np.uint64)


@dataclasses.dataclass(frozen=True)
class _Slot:
    """Where an array is among the words of its group."""

    group: int
    start: int
    end: int
    shape: tuple[int, ...]
    is_bool: bool

    def read(self, groups: Sequence[Any]) -> Any:
        values = groups[self.group][self.start : self.end].reshape(self.shape)
        is_sum = values.dtype.itemsize > 4
        return values.astype(bool) if self.is_bool and not is_sum else values


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a tree was packed.

    Attributes:
      structure: Structure of the tree.
      slots: Where each array is; `None` for those that are not packed.
      sizes: How many words each group has, one group after the other.
    """

    structure: Any
    slots: tuple[_Slot | None, ...]
    sizes: tuple[int, ...]

    def split(self, words: Any) -> list[Any]:
        """Returns the words of each group."""
        return [words[start:end] for start, end in self._bounds]

    def words_of(self, leaves: Iterable[int]) -> list[int]:
        """Returns where the words of arrays are in their group."""
        slots = [self.slots[i] for i in leaves]
        return [i for slot in slots if slot for i in range(slot.start, slot.end)]

    def start_of(self, slot: _Slot) -> int:
        """Returns where an array begins among the words of all groups."""
        return self._bounds[slot.group][0] + slot.start

    @functools.cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        ends = np.cumsum([0, *self.sizes]).tolist()
        return list(itertools.pairwise(ends))


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True, eq=False)
class PackedStates:
    """A tree of states, packed.

    Attributes:
      layout: How.
      words: The packed arrays, `u32[n]`; `None` if there are none.
      others: Arrays that are not packed.
    """

    layout: Layout
    words: jax.Array | None
    others: tuple[Any, ...]

    def tree_flatten(self) -> tuple[tuple[Any, ...], Layout]:
        return (self.words, *self.others), self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: Sequence[Any]) -> PackedStates:
        words, *others = children
        return cls(layout, words, tuple(others))

    def start_transfer(self) -> None:
        """Sends the packed arrays to the host, without waiting."""
        if self.words is not None:
            self.words.copy_to_host_async()

    @functools.cached_property
    def row(self) -> np.ndarray:
        """The words on the host, `u32[n]`; waits for them."""
        return _NOTHING if self.words is None else sharding.to_host(self.words)

    @functools.cached_property
    def groups(self) -> list[np.ndarray]:
        """The words of each group on the host, seen as what they are."""
        return _groups_of(self.layout, self.row)

    def leaf(self, index: int) -> Any:
        """Returns an array of the tree."""
        slots = self.layout.slots
        if (slot := slots[index]) is not None:
            return slot.read(self.groups)
        return self.others[slots[:index].count(None)]

    @functools.cached_property
    def tree(self) -> Any:
        """The tree; its packed arrays are read-only, and on the host."""
        layout = self.layout
        if isinstance(self.words, jax.core.Tracer):
            groups = [
                jax.lax.bitcast_convert_type(words, dtype)
                for words, dtype in zip(layout.split(self.words), _SEEN_AS, strict=True)
            ]
        else:
            groups = self.groups
        return _unpack(layout, groups, self.others)


def pack(
    tree: PyTree,
    shardings: sharding.ShardingTree,
    *,
    replicated: sharding.ShardingTree,
) -> PackedStates:
    """Places a tree of states, and packs it, inside jit.

    Args:
      tree: The states. An array that occurs several times is packed once.
      shardings: Of the tree, see `ShardingTree`. What is split over devices is not
        packed.
      replicated: The sharding of what every device has.
    """
    leaves, structure = jax.tree.flatten(tree)
    placements = sharding.map_shardings(lambda x, s: _Placement(s), tree, shardings)
    slots: list[_Slot | None] = []
    known: dict[int, _Slot] = {}
    words: list[list[Any]] = [[] for _ in _SEEN_AS]
    sizes = [0] * len(words)
    others = []
    for leaf, placement in zip(leaves, jax.tree.leaves(placements), strict=True):
        group = _GROUPS.get(str(leaf.dtype)) if placement.is_whole else None
        if group is None or leaf.size > _MAX_PACKED_SIZE:
            slots.append(None)
            others.append(placement.place(leaf))
            continue
        if id(leaf) not in known:
            is_bool = leaf.dtype == bool
            start, sizes[group] = sizes[group], sizes[group] + leaf.size
            known[id(leaf)] = _Slot(group, start, sizes[group], leaf.shape, is_bool)
            words[group].append(leaf if placement.is_single else placement.place(leaf))
        slots.append(known[id(leaf)])
    # The barrier keeps what is measured, and all that it is measured of, as it would be
    # computed without: the same bits whether a step is logged or not.
    words = jax.lax.optimization_barrier(words)
    rows = [_to_words(group) for group in words if group]
    row = jnp.concatenate(rows) if rows else None
    row = sharding.with_sharding_constraint(row, replicated)
    layout = Layout(structure, tuple(slots), tuple(sizes))
    return PackedStates(layout, row, tuple(others))


@dataclasses.dataclass(frozen=True)
class _Placement:
    """Where an array belongs; a leaf of a tree, also if it is nowhere."""

    sharding: Any

    @property
    def is_whole(self) -> bool:
        return self.sharding is None or self.sharding.is_fully_replicated

    @property
    def is_single(self) -> bool:
        """Whether there is one device: placing hundreds of arrays there takes time."""
        return self.sharding is None or self.sharding.num_devices == 1

    def place(self, x: Any) -> Any:
        return sharding.with_sharding_constraint(x, self.sharding)


def _to_words(group: list[Any]) -> Any:
    """Returns arrays of one kind end to end, as words."""
    values = [x.astype(jnp.int32) if x.dtype == bool else x for x in group]
    flat = jnp.concatenate([x.ravel() for x in values])
    return jax.lax.bitcast_convert_type(flat, jnp.uint32)


def _groups_of(layout: Layout, row: np.ndarray) -> list[np.ndarray]:
    return [
        words.view(dtype)
        for words, dtype in zip(layout.split(row), _SEEN_AS, strict=True)
    ]


def _unpack(layout: Layout, groups: Sequence[Any], others: Sequence[Any]) -> Any:
    rest = iter(others)
    return layout.structure.unflatten(
        [next(rest) if slot is None else slot.read(groups) for slot in layout.slots]
    )


class Sums:
    """States of many steps that were packed alike, added up in f64 and int64.

    What merges in another way is left to others: `split` and `join` take trees apart into
    those states and the rest.

    Args:
      layout: How they were packed.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.num_rows = 0
        self._groups: list[np.ndarray] = []
        self._is_summed, self._must_be_zero = _summed_states(layout)

    @property
    def is_complete(self) -> bool:
        """Whether all states add up."""
        return all(self._is_summed)

    def add(self, row: np.ndarray) -> bool:
        """Adds what a step has measured; `False` if it must be merged state by state.

        That is so if it has met labels that are no classes.
        """
        groups = _groups_of(self.layout, row)
        integers = groups[_GROUPS["int32"]]
        if integers[self._must_be_zero].any():
            return False
        if not self.num_rows:
            self._groups = [
                words.astype(dtype)
                for words, dtype in zip(groups, _SUMMED_AS, strict=True)
            ]
        else:
            for total, words in zip(self._groups, groups, strict=True):
                total += words
        self.num_rows += 1
        return True

    def split(self, tree: PyTree) -> list[Any]:
        """Returns the states that do not add up."""
        states = jax.tree.leaves(tree, is_leaf=base_state.State.isinstance)
        return [
            state
            for state, is_summed in zip(states, self._is_summed, strict=True)
            if not is_summed
        ]

    def join(self, others: Sequence[Any]) -> Any:
        """Returns the tree of the sums, and of the states that `split` has given."""
        num_others = sum(slot is None for slot in self.layout.slots)
        tree = _unpack(self.layout, self._groups, [None] * num_others)
        states, structure = jax.tree.flatten(tree, is_leaf=base_state.State.isinstance)
        rest = iter(others)
        return structure.unflatten(
            state if is_summed else next(rest)
            for state, is_summed in zip(states, self._is_summed, strict=True)
        )


@functools.lru_cache(maxsize=64)
def _summed_states(layout: Layout) -> tuple[list[bool], np.ndarray]:
    """Returns which states add up, and which integers are then zero: of bad labels."""
    tree = layout.structure.unflatten(range(len(layout.slots)))
    is_summed, must_be_zero = [], []
    for state in jax.tree.leaves(tree, is_leaf=base_state.State.isinstance):
        places = jax.tree.leaves(state)
        adds_up = (
            base_state.State.isinstance(state)
            and state.adds_up()
            and all(layout.slots[i] is not None for i in places)
        )
        is_summed.append(adds_up)
        if adds_up:
            must_be_zero += layout.words_of(jax.tree.leaves(state.bad_labels))
    return is_summed, np.array(must_be_zero, np.intp)
