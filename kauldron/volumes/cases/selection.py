"""Choosing cases: by name, position, file; and parts of a split."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kauldron._base import arguments, errors
from kauldron.volumes.geometry.errors import VolumeError

_RANGE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")


@dataclasses.dataclass(frozen=True)
class Split(arguments.NamesArguments):
    """One part of a split of the cases; datasets of one split have no case in common.

    Attributes:
      part: The part that is taken.
      parts: Part -> its share, a number in (0, 1]; or what it consists of, as `select`
        of `VolumeCases` says it; or `None`, for one part: the rest. Shares are of the
        cases that no other part names.
      by: How shares are given out. `'hash'`: each case by a hash of its name and the
        seed. The part of a case never changes, also when others are added; sizes are
        about right. `'shuffle'`: in the order of the hashes; sizes are right to one case.
        `'order'`: in the order of the names, the first ones to the first part.
      seed: Of the hash. It is not the seed of the run: runs with several seeds are
        compared on the same cases.

    Raises:
      VolumeError: If they don't fit together.

    Example:

    ```python
    split = kd.volumes.Split("train", {"train": 0.8, "val": 0.2})
    ```
    """

    part: str
    parts: Mapping[str, Any]
    by: str = dataclasses.field(default="hash", kw_only=True)
    seed: int = dataclasses.field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.by not in ("hash", "shuffle", "order"):
            raise VolumeError(
                f"`Split.by` is 'hash', 'shuffle' or 'order': got {self.by!r}."
            )
        if self.part not in self.parts:
            raise VolumeError(
                f"`Split.part` is {self.part!r}, which is none of the parts "
                f"{sorted(self.parts)}.{errors.did_you_mean(self.part, self.parts)}"
            )
        shares = self._shares
        if any(not 0 < share <= 1 for share in shares.values()) or (
            sum(shares.values()) > 1 + 1e-9
        ):
            raise VolumeError(
                "The shares of a split are in (0, 1], and sum up to at most 1: got "
                f"{shares}."
            )
        rest = [name for name, part in self.parts.items() if part is None]
        if len(rest) > 1:
            raise VolumeError(f"One part of a split is the rest: got {rest}.")

    @property
    def _shares(self) -> dict[str, float]:
        return {
            name: float(part)
            for name, part in self.parts.items()
            if isinstance(part, int | float) and not isinstance(part, bool)
        }

    def of(self, names: Sequence[str]) -> list[str]:
        """Returns the cases of the part, in their order.

        Args:
          names: All cases.

        Raises:
          VolumeError: If there is none, or two parts have a case in common.
        """
        part_of: dict[str, str] = {}
        for part, select in self.parts.items():
            if part in self._shares or select is None:
                continue
            for name in selected(names, select):
                if name in part_of:
                    raise VolumeError(
                        f"Two parts of the split have the case {name!r}: "
                        f"{part_of[name]!r} and {part!r}."
                    )
                part_of[name] = part
        self._give_shares([name for name in names if name not in part_of], part_of)
        rest = next((p for p, select in self.parts.items() if select is None), None)
        taken = [name for name in names if part_of.get(name, rest) == self.part]
        if not taken:
            raise VolumeError(
                f"The part {self.part!r} of the split has none of the {len(names)} cases."
                + (
                    " Shares by hash are right on average: with few cases use "
                    "`by='shuffle'`, or name the cases of the part."
                    if self.by == "hash" and self.part in self._shares
                    else ""
                )
            )
        return taken

    def _give_shares(self, names: list[str], part_of: dict[str, str]) -> None:
        where = {name: _unit_hash(f"{self.seed}/{name}") for name in names}
        if self.by != "hash":
            if self.by == "shuffle":
                names = sorted(names, key=where.__getitem__)
            where = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        begin = 0.0
        for part, share in self._shares.items():
            end = round(begin + share, 9)  # 0.7 + 0.2 + 0.1 is 1
            for name in names:
                if begin <= where[name] < end:
                    part_of[name] = part
            begin = end


def selected(names: Sequence[str], select: Any) -> list[str]:
    """Returns the cases that a selection names, in their order.

    Args:
      names: All cases, in their order.
      select: A name, a pattern such as `'ward3_*'`, a position, a range of positions
        `'10:20'`, a text file with one of these in each line (`'val.txt'`), one of these
        with `~` in front: all but these; or a list of these. `None` is all.

    Raises:
      VolumeError: If it names no case.
    """
    if select is None:
        return list(names)
    items: Any = [select] if isinstance(select, str | int) else select
    if not isinstance(items, list | tuple):
        raise VolumeError(
            "Cases are selected by names, positions, ranges or files: got "
            f"{select!r}. Shares are those of a `kd.volumes.Split`."
        )
    left_out = [item[1:] for item in items if _is_negated(item)]
    taken_by = [item for item in items if not _is_negated(item)]
    kept = _matching(names, taken_by) if taken_by or not left_out else set(names)
    kept -= _matching(names, left_out)
    if not kept:
        raise VolumeError(f"The selection {select!r} leaves no case of {_some(names)}.")
    return [name for name in names if name in kept]


def _is_negated(item: object) -> bool:
    return isinstance(item, str) and item.startswith("~")


def _matching(names: Sequence[str], items: Sequence[Any]) -> set[str]:
    found: set[str] = set()
    for item in items:
        found.update(_matches(names, item))
    return found


def _matches(names: Sequence[str], item: object) -> Sequence[str]:
    if isinstance(item, int) and not isinstance(item, bool):
        if not -len(names) <= item < len(names):
            raise VolumeError(f"There is no case {item}: there are {len(names)}.")
        return [names[item]]
    if not isinstance(item, str):
        raise VolumeError(
            f"A case is selected by its name or position: got {item!r} "
            f"({type(item).__name__})."
        )
    if item in names:
        return [item]
    if range_ := _RANGE.fullmatch(item):
        start, stop, step = (int(part) if part else None for part in range_.groups())
        return names[start:stop:step]
    if item.endswith(".txt"):
        return _listed(names, item)
    if any(c in item for c in "*?["):
        matching = fnmatch.filter(names, item)
        if matching:
            return matching
    raise VolumeError(
        f"There is no case {item!r}.{errors.did_you_mean(item, names)} There are "
        f"{_some(names)}."
    )


def _listed(names: Sequence[str], path: str) -> Sequence[str]:
    if not os.path.isfile(path):
        raise VolumeError(
            f"The file of cases {path!r} does not exist (in {os.getcwd()!r})."
        )
    with open(path, encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file]
    try:
        return selected(names, [x for x in lines if x and not x.startswith("#")])
    except VolumeError as error:
        error.add_note(f"The case is listed in {path!r}.")
        raise


def _unit_hash(text: str) -> float:
    """Returns a number in [0, 1), the same in every process and version."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:6], "little") / 2.0**48


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:6]))
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown
