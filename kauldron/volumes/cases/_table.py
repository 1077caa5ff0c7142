"""Finding the cases below some roots: names, and the files of their groups."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Mapping, Sequence

from kauldron._base import errors
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True)
class Found:
    """The cases below some roots, in the order of their names.

    Attributes:
      files: Name of the case -> group -> its files: none if it is missing, several if two
        cases have one name.
    """

    files: Mapping[str, Mapping[str, tuple[str, ...]]]


def find(
    roots: Sequence[str], groups: Mapping[str, groups_lib.Group], *, combine: str
) -> Found:
    """Finds the files of all groups.

    Args:
      roots: Folders.
      groups: By name.
      combine: `'union'`: a case may have its files in any root. `'intersection'`: cases
        are those of which every root has a file.

    Raises:
      VolumeError: If a root does not exist, or there is no case.
    """
    files: dict[str, dict[str, tuple[str, ...]]] = {}
    in_roots: list[set[str]] = []
    for root in roots:
        of_root = _files_below(root, {g.pattern for g in groups.values()})
        in_roots.append({case for found in of_root.values() for case, _ in found})
        for name, group in groups.items():
            for case, path in of_root[group.pattern]:
                of_case = files.setdefault(case, {})
                of_case[name] = (*of_case.get(name, ()), path)
    if not files:
        raise VolumeError(_nothing_found(roots, groups))
    names = set(files)
    if combine == "intersection":
        names = set.intersection(*in_roots)
        if not names:
            raise VolumeError(
                "No case has files in every root: "
                + "; ".join(
                    f"{root} has {len(cases)} cases"
                    for root, cases in zip(roots, in_roots, strict=True)
                )
                + ". Use `combine='union'` if the files of a case may be in any of them."
            )
    return Found(
        {
            case: {name: files[case].get(name, ()) for name in groups}
            for case in sorted(names)
        }
    )


def _files_below(root: str, patterns: set[str]) -> dict[str, list[tuple[str, str]]]:
    """Returns (case, path) of what matches each pattern."""
    if not os.path.isdir(root):
        raise VolumeError(_no_root(root))
    found: dict[str, list[tuple[str, str]]] = {p: [] for p in patterns}
    # 'a_seg.nii' is no case 'a_seg' of '{case}.nii' if '{case}_seg.nii' is asked for.
    best: dict[str, int] = {}
    for pattern in patterns:
        length = len(pattern)
        for case, path in _matches(root, pattern):
            found[pattern].append((case, path))
            best[path] = max(best.get(path, 0), length)
    return {
        pattern: [(case, path) for case, path in items if best[path] == len(pattern)]
        for pattern, items in found.items()
    }


def _matches(root: str, pattern: str) -> list[tuple[str, str]]:
    literal = [re.escape(part) for part in pattern.split(groups_lib.CASE)]
    regex = re.compile("([^/]+?)".join(literal[:2]) + "\\1".join(["", *literal[2:]]))
    wild = "*".join(glob.escape(part) for part in pattern.split(groups_lib.CASE))
    matches = []
    for path in sorted(glob.glob(os.path.join(glob.escape(root), wild))):
        below = os.path.relpath(path, root).replace(os.sep, "/")
        match = regex.fullmatch(below)
        if match is not None:
            matches.append((match[1], path))
    return matches


def _no_root(root: str) -> str:
    if os.path.exists(root):
        return (
            f"`path` is the folder of the cases, and {root!r} is a file: give the folder "
            "that holds the folders or files of the cases."
        )
    parent = os.path.dirname(os.path.abspath(root))
    there = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
    hint = errors.did_you_mean(os.path.basename(root), there)
    return f"The folder of cases {root!r} does not exist.{hint}"


def _nothing_found(roots: Sequence[str], groups: Mapping[str, groups_lib.Group]) -> str:
    patterns = ", ".join(repr(group.pattern) for group in groups.values())
    lines = [
        f"There is no case in {', '.join(map(repr, roots))}: looked for {patterns}."
    ]
    for root in roots:
        there = sorted(os.listdir(root))[:5]
        lines.append(f"{root!r} holds {', '.join(map(repr, there)) or 'nothing'}")
        inner = os.path.join(root, there[0]) if there else ""
        if os.path.isdir(inner):
            in_it = sorted(os.listdir(inner))[:5]
            lines[-1] += (
                f", and {there[0]!r} {', '.join(map(repr, in_it)) or 'nothing'}"
            )
        lines[-1] += "."
    return " ".join(lines)
