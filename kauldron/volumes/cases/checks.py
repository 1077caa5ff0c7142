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
      reading: Reads all voxels after the transforms, in which NaN, infinite values and
        labels out of range are looked for; `None` reads headers alone.
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
    return too_large(array, group)


def wrong_labels(array: np.ndarray, group: groups_lib.Group) -> str | None:
    """Returns which label is out of range, or no whole number."""
    if array.dtype.kind == "f" and not (array == np.rint(array)).all():
        value = array[array != np.rint(array)][0]
        return f"has the value {value:g}, which is no label"
    if group.num_labels is None or not array.size:
        return too_large(array, group)
    low, high = array.min(), array.max()
    if low >= 0 and high < group.num_labels:
        return too_large(array, group)
    worst = low if low < 0 else high
    return f"has the label {_told(worst)}, outside of [0, {group.num_labels})"


def too_large(array: np.ndarray, group: groups_lib.Group) -> str | None:
    """Returns which value the dtype of the batch cannot hold; `None` if it holds all."""
    dtype = group.batch_dtype
    if np.can_cast(array.dtype, dtype) or dtype.kind not in "iuf" or not array.size:
        return None
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    low, high = limits.min, limits.max
    if array.dtype.kind == "f":
        low, high = np.float64(low), np.float64(high)  # f32 would round them
    if array.min() >= low and array.max() <= high:
        return None
    is_bad = ~((array >= low) & (array <= high))
    if dtype.kind == "f":
        is_bad &= np.isfinite(array)  # these stay what they are
    if not is_bad.any():
        return None
    what = f"{'label' if group.is_label else 'value'} {_told(array[is_bad][0])}"
    return f"has the {what}, which {dtype}, the dtype of the batch, cannot hold"


def _told(value: np.generic) -> str:
    return f"{value:d}" if value.dtype.kind in "iu" else f"{value:g}"
