"""Comparison of what a run expects with what a checkpoint holds, before reading it."""

from __future__ import annotations

from typing import Any

import jax
from etils import epath

from kauldron.checkpoints import _arrays, _plan


def differences(
    expected: Any, item_dir: epath.Path, *, parts: bool = False
) -> list[str]:
    """Returns a line per leaf that is missing, superfluous, or of another shape or kind.

    Args:
      expected: Pytree of anything with `shape` and `dtype`. Another precision is no
        difference: values are cast.
      item_dir: Folder of the item in the checkpoint.
      parts: Whether only those fields count of which `expected` has something.
    """
    wanted = _arrays.flatten(jax.tree.map(_arrays.as_saved, expected))
    found = _arrays.flatten(_arrays.metadata(item_dir))
    if parts:
        tops = {path.split(".")[0] for path in wanted}
        found = {k: x for k, x in found.items() if k.split(".")[0] in tops}
    lines = []
    for path in sorted({*wanted, *found}):
        if path not in found:
            expectation = _plan.describe(wanted[path])
            lines.append(f"{path}: not in the checkpoint, expected {expectation}")
        elif path not in wanted:
            there = _plan.describe(found[path])
            lines.append(f"{path}: {there} in the checkpoint, not expected")
        elif problem := _plan.mismatch(wanted[path], found[path]):
            lines.append(f"{path}: {problem}")
    return lines
