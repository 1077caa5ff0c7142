"""Comparison of what a run expects with what a checkpoint holds, before reading it."""

from __future__ import annotations

from typing import Any

import jax
from etils import epath


def differences(expected: Any, item_dir: epath.Path) -> list[str]:
    """Returns a line per leaf that is missing, superfluous, or of another shape.

    Args:
      expected: Pytree of anything with `shape`. Another dtype is no difference: values
        are cast.
      item_dir: Folder of the item in the checkpoint.
    """
    import orbax.checkpoint as ocp

    wanted = _shapes(expected)
    found = _shapes(ocp.StandardCheckpointHandler().metadata(item_dir).tree)
    lines = []
    for path in sorted({*wanted, *found}):
        if path not in found:
            lines.append(f"{path}: not in the checkpoint, expected {wanted[path]}")
        elif path not in wanted:
            lines.append(f"{path}: {found[path]} in the checkpoint, not expected")
        elif wanted[path] != found[path]:
            lines.append(
                f"{path}: {found[path]} in the checkpoint, expected {wanted[path]}"
            )
    return lines


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): tuple(
            getattr(leaf, "shape", ()) or ()
        )
        for path, leaf in leaves
    }
