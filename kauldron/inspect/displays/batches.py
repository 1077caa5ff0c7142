"""The arrays of a batch: shapes, dtypes, and what their values are like."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext
from kauldron._base import text_tables
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree

_COLUMNS = ("Name", "Dtype", "Shape", "Min", "Max", "Mean", "StdDev")


def get_batch_stats(batch: PyTree) -> Table:
    """Returns a row for each array of a batch, with its least, greatest and mean value.

    Statistics are of the finite values; a note names the arrays that have others. What
    is no number has none.

    Args:
      batch: Tree of arrays.
    """
    rows, notes = [], []
    for path, value in kontext.flatten_with_path(batch).items():
        name, array = f"batch.{path}", np.asarray(value)
        values, num_bad = _finite(array)
        if num_bad:
            notes.append(f"{name} has {num_bad:,} values that are not finite.")
        stats: tuple[Any, ...] = (None,) * 4
        if values is not None and values.size:
            stats = (
                float(values.min()),
                float(values.max()),
                float(values.mean()),
                float(values.std()),
            )
        rows.append(
            (name, str(array.dtype), text_tables.format_shape(array.shape), *stats)
        )
    return Table(title="Batch", columns=_COLUMNS, rows=tuple(rows), notes=tuple(notes))


def json_spec_like(obj: PyTree) -> Any:
    """Returns the structure of a tree with dtypes and shapes, such as JSON can hold.

    Args:
      obj: Any tree; its leaves are arrays, specs, or anything else, of which the class
        is told.
    """
    return jax.tree.map(_describe, obj, is_leaf=_is_end)


def _is_end(node: Any) -> bool:
    return node is None or hasattr(node, "dtype")


def _describe(leaf: Any) -> str | None:
    if leaf is None:
        return None
    return kontext.format_spec(leaf) or type(leaf).__name__


def _finite(array: np.ndarray) -> tuple[np.ndarray | None, int]:
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        return None, 0
    values = array.astype(np.float64).ravel()
    is_finite = np.isfinite(values)
    return values[is_finite], int((~is_finite).sum())
