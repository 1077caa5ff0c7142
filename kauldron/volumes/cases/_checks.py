"""Checks of all cases before anything is trained: headers, and voxels if asked for."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kauldron.volumes.cases import _case, _reading
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.errors import VolumeError

_MAX_LISTED = 50


class BadCasesError(VolumeError):
    """Some cases cannot be used; names all of them, with their files.

    Attributes:
      problems: What is wrong, each with its case.
    """

    def __init__(self, message: str, problems: Sequence[_case.Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True)
class Checked:
    """Cases that can be used, and what is wrong with the others."""

    cases: tuple[_case.Case, ...]
    problems: tuple[_case.Problem, ...]


def check(
    files: Mapping[str, Mapping[str, tuple[str, ...]]],
    groups: Mapping[str, groups_lib.Group],
    *,
    reading: _reading.Reading | None,
) -> Checked:
    """Reads the headers of all cases, or all voxels as well.

    Args:
      files: Case -> group -> its files.
      groups: By name.
      reading: Reads all voxels, in which NaN, infinite values and labels out of range are
        looked for; `None` reads headers alone.
    """
    cases, problems = [], []
    for name, of_case in files.items():
        case, found = _case.open_case(name, of_case, groups)
        if case is not None and reading is not None:
            found = [
                problem
                for group in case.files
                for problem in _voxel_problems(case, group, reading)
            ]
        if case is not None and not found:
            cases.append(case)
        problems += found
    return _with_equal_channels(cases, problems, groups)


def describe(problems: Sequence[_case.Problem], num_cases: int) -> str:
    """Returns the message that lists all problems."""
    bad = len({problem.case for problem in problems})
    lines = [f"{bad} of {num_cases} cases cannot be used:"]
    lines += [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"  and {len(problems) - _MAX_LISTED} more problems.")
    return "\n".join(lines)


def _with_equal_channels(
    cases: list[_case.Case],
    problems: list[_case.Problem],
    groups: Mapping[str, groups_lib.Group],
) -> Checked:
    """Finds cases whose groups have other channels than those of most cases."""
    bad: set[str] = set()
    for group in groups:
        numbers = {
            c.name: c.infos[group].num_channels for c in cases if group in c.infos
        }
        counted = collections.Counter(numbers.values())
        usual = counted.most_common(1)[0][0] if counted else 0
        for case in cases:
            number = numbers.get(case.name, usual)
            if number != usual:
                bad.add(case.name)
                what = f"has {number} channels, {group!r} of most cases {usual}"
                problems.append(_case.Problem(case.name, case.files[group], what))
    kept = tuple(case for case in cases if case.name not in bad)
    return Checked(kept, tuple(sorted(problems, key=lambda p: p.case)))


def _voxel_problems(
    case: _case.Case, group: str, reading: _reading.Reading
) -> Iterable[_case.Problem]:
    of = case.groups[group]
    try:
        slabs = reading.slabs(case, group)
        wrong = next((text for slab in slabs if (text := wrong_values(slab, of))), None)
    except Exception as error:  # of a library, for a damaged file
        wrong = _case.told(error, case.files[group], "cannot be read")
    if wrong is not None:
        yield _case.Problem(case.name, case.files[group], wrong)


def wrong_values(array: np.ndarray, group: groups_lib.Group) -> str | None:
    """Returns what is wrong with the values of a group; `None` if nothing is."""
    if group.is_label:
        return wrong_labels(array, group)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        number = int(array.size - np.isfinite(array).sum())
        return f"has {number} voxels that are NaN or infinite"
    return None


def wrong_labels(array: np.ndarray, group: groups_lib.Group) -> str | None:
    """Returns which label is out of range, or no whole number."""
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        value = array[array != np.rint(array)][0]
        return f"has the value {value:g}, which is no label"
    if group.num_labels is None or not array.size:
        return None
    low, high = array.min(), array.max()
    if low >= 0 and high < group.num_labels:
        return None
    worst = low if low < 0 else high
    return f"has the label {worst:g}, outside of [0, {group.num_labels})"
