"""Values of states that are still packed: all means at once, no state is made for them.

Most of what a step measures are means. Making a state of each, and dividing one after the
other, takes longer than everything else that is done with them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from kauldron import losses, sharding
from kauldron.metrics import base_state
from kauldron.step import packed_states

# Method of a state -> the mean of nothing, for those that only divide.
_MEANS = {
    base_state.AverageState.compute: np.nan,
    losses.Loss.State.compute: 0.0,
}


@dataclasses.dataclass(frozen=True, eq=False)
class PackedState:
    """Stands for a state in a tree of packed ones.

    Attributes:
      parent: Its metric.
      structure: Structure of the state.
      places: Which arrays of the whole tree are its own.
      mean: Which mean it is; `None` for all other states.
    """

    parent: Any
    structure: Any
    places: tuple[int, ...]
    mean: int | None


class PackedValues:
    """Computes values of packed states, on the host.

    Args:
      packed: The states. They are fetched when the first value is asked for.
    """

    def __init__(self, packed: packed_states.PackedStates) -> None:
        self._packed = packed
        # Of the layout, which is the same object in each step.
        cache = vars(packed.layout)
        if _Plan.__name__ not in cache:
            cache[_Plan.__name__] = _Plan(packed.layout)
        self._plan: _Plan = cache[_Plan.__name__]

    def tree(self, field: str) -> Any:
        """Returns a field of the packed tree, with a `PackedState` for each state."""
        return getattr(self._plan.tree, field)

    def compute(self, state: PackedState) -> Any:
        """Returns the value of a state."""
        if state.mean is None or self._means is None:
            return self.unpack(state).compute()
        return self._means[state.mean, ...]

    def unpack(self, state: PackedState) -> Any:
        """Returns a state itself, finalized."""
        leaves = [self._packed.leaf(i) for i in state.places]
        return sharding.to_host(state.structure.unflatten(leaves).finalize())

    @functools.cached_property
    def _means(self) -> np.ndarray | None:
        """All means; `None` if there are labels that are no classes."""
        return self._plan.means(self._packed.groups)


class _Plan:
    """Where the means of a layout are."""

    def __init__(self, layout: packed_states.Layout) -> None:
        self._layout = layout
        self._sums: list[tuple[int, int]] = []
        self._of_nothing: list[float] = []
        bad: list[int] = []
        places = layout.structure.unflatten(range(len(layout.slots)))
        self.tree = jax.tree.map(
            functools.partial(self._stand_in, bad=bad),
            places,
            is_leaf=base_state.State.isinstance,
        )
        self._totals, self._counts = np.array(self._sums, np.intp).reshape(-1, 2).T
        self._fill = np.array(self._of_nothing)
        self._bad = np.array(bad, np.intp)

    def means(self, groups: list[np.ndarray]) -> np.ndarray | None:
        if groups[1][self._bad].any():
            return None
        # As f64, which holds them all; a quotient of f32 is rounded to the same f32.
        words = np.concatenate(groups, dtype=np.float64)
        counts = words[self._counts]
        return np.divide(
            words[self._totals], counts, out=self._fill.copy(), where=counts != 0
        ).astype(np.float32)

    def _stand_in(self, state: Any, *, bad: list[int]) -> PackedState:
        leaves, structure = jax.tree.flatten(state)
        mean = None
        if (sums := self._sums_of(state)) is not None:
            mean = len(self._sums)
            self._sums.append(sums)
            self._of_nothing.append(_MEANS[type(state).compute])
            bad += self._layout.words_of(jax.tree.leaves(state.bad_labels))
        return PackedState(state.parent, structure, tuple(leaves), mean)

    def _sums_of(self, state: Any) -> tuple[int, int] | None:
        """Returns the words that are divided; `None` if its value is something else."""
        is_mean = (
            type(state).compute in _MEANS
            and type(state).finalize is base_state.State.finalize
        )
        if not is_mean:
            return None
        slots = self._layout.slots
        total, count = slots[state.total], slots[state.count]
        if None in [slots[i] for i in jax.tree.leaves(state)]:
            return None
        if total is None or count is None or total.shape or count.shape:
            return None
        return self._layout.start_of(total), self._layout.start_of(count)
