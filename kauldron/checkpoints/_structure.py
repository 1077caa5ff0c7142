"""Comparison of what a run expects with what a checkpoint holds, before reading it."""

from __future__ import annotations

from typing import Any

from etils import epath

from kauldron.checkpoints import _arrays, _casting, _names


def differences(
    expected: Any, item_dir: epath.Path, *, parts: bool = False
) -> list[str]:
    """Returns a line per leaf that is missing, superfluous, or of another shape or kind.

    Args:
      expected: Pytree of anything with `shape` and `dtype`, or of numbers. Another
        precision of floats is no difference, nor are whole numbers that fit.
      item_dir: Folder of the item in the checkpoint.
      parts: Whether only those fields count of which `expected` has something.
    """
    named = _names.flatten_with_path(expected)
    wanted = {name: leaf for name, (_, leaf) in named.items()}
    found = _arrays.saved(item_dir)
    if parts:
        tops = {_names.parts_of(path)[:1] for path, _ in named.values()}
        found = {name: x for name, x in found.items() if x.parts[:1] in tops}
    lines = []
    for path in sorted({*wanted, *found}):
        if path not in found:
            expectation = _casting.describe(_casting.as_saved(wanted[path]))
            lines.append(f"{path}: not in the checkpoint, expected {expectation}")
        elif path not in wanted:
            there = _casting.describe(found[path])
            lines.append(f"{path}: {there} in the checkpoint, not expected")
        elif problem := _casting.mismatch(wanted[path], found[path]):
            lines.append(f"{path}: {problem}")
    return lines
