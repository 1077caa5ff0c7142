"""Places of examples: which case, copy and patch an index means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from kauldron._base import console
from kauldron.volumes.augment.augmenting import Augment
from kauldron.volumes.cases import _case
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Shape
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.patches import grids


@dataclasses.dataclass(frozen=True)
class Place:
    """Which patch an example is.

    Attributes:
      case: The case.
      copy: Number of the copy of the case, which is augmented in its own way.
      number: Of the patch in the case; 0 of whole cases.
    """

    case: _case.Case
    copy: int
    number: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is taken of each case.

    Attributes:
      groups: By name.
      patches: `PatchGrid`, `RandomPatch`, or `None` for whole cases.
      patches_per_case: How many random ones.
      augment: An `Augment`, or `None`.
      cases_at_once: How many cases are shuffled together; `None`: all.
    """

    groups: Mapping[str, groups_lib.Group]
    patches: grids.PatchGrid | grids.RandomPatch | None
    patches_per_case: int
    augment: Augment | None
    cases_at_once: int | None

    def num_patches(self, shape: Shape) -> int:
        """Returns how many patches a copy of a case gives."""
        if self.patches is None:
            return 1
        if isinstance(self.patches, grids.PatchGrid):
            return len(self.patches.starts(shape))
        return self.patches_per_case

    @property
    def num_copies(self) -> int:
        """How many copies of each case there are."""
        return 1 if self.augment is None else self.augment.copies


class Places:
    """The examples of some cases, one after the other.

    Args:
      cases: At least one.
      plan: What is taken of each.
    """

    def __init__(self, cases: Sequence[_case.Case], plan: Plan) -> None:
        self._cases = cases
        self._plan = plan
        self._per_copy = [plan.num_patches(case.shape) for case in cases]
        self._ends = np.cumsum(self._per_copy) * plan.num_copies

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Place:
        """Returns the case, copy and number of an example.

        Raises:
          IndexError: If there is none.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index} of {len(self)}.")
        position = int(np.searchsorted(self._ends, index, side="right"))
        of_case = index - (int(self._ends[position - 1]) if position else 0)
        copy, number = divmod(of_case, self._per_copy[position])
        return Place(self._cases[position], copy, number)

    @property
    def blocks(self) -> tuple[np.ndarray | None, int]:
        """The case of each example, if cases are to be shuffled one after the other."""
        at_once = self._plan.cases_at_once
        if at_once is None:
            return None, 0
        sizes = np.diff(self._ends, prepend=0)
        return np.repeat(np.arange(len(self._cases)), sizes), at_once


def check_shapes(
    cases: Sequence[_case.Case], plan: Plan, batch_size: int, *, is_shuffled: bool
) -> None:
    """Raises an error if examples of different shapes would come into one batch.

    Args:
      cases: In their order.
      plan: What is taken of each.
      batch_size: How many examples are batched.
      is_shuffled: Whether any two may meet; else, neighbours do.
    """
    patches = plan.patches
    one_each = patches is None and plan.num_copies == 1
    if batch_size < 2 or plan.cases_at_once or not (is_shuffled or one_each):
        return
    shapes = [
        c.shape if patches is None else patches.patch_size(c.shape) for c in cases
    ]
    step = len(cases) if is_shuffled else batch_size
    for begin in range(0, len(cases) - step + 1, step):
        for i in range(begin + 1, begin + step):
            if shapes[i] != shapes[begin]:
                raise VolumeError(
                    f"Cases of different shapes are no batch: {cases[begin].name!r} has "
                    f"{shapes[begin]}, {cases[i].name!r} {shapes[i]} (z, y, x), and "
                    f"`batch_size` is {batch_size}. Set `batch_size=1`, take patches of "
                    "one size (`patches=kd.volumes.RandomPatch(size=...)`), or give all "
                    "groups the transforms `Pad` and `Crop` of `kd.volumes.transforms`."
                )


def tell_small(cases: Sequence[_case.Case], patches: grids.Patches | None) -> None:
    """Says which cases are smaller than a patch: those are filled up."""
    if patches is None:
        return
    small = []
    for case in cases:
        sizes = zip(case.shape, patches.patch_size(case.shape), strict=True)
        if any(have < size for have, size in sizes):
            small.append(f"{case.name} {case.shape}")
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        console.log(
            f"{len(small)} of {len(cases)} cases are smaller than a patch, "
            f"{patches.size}, and filled up with {patches.pad:g}: "
            f"{', '.join(small[:5])}{more}."
        )
