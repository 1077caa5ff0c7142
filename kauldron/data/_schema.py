"""Batch schema: keys and dtypes that all batches of a pipeline must share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from kauldron.data import _errors, _specs

if TYPE_CHECKING:
    from kauldron.ktyping import PyTree


# Path of a value in the batch -> its dtype; texts count as one.
Schema = dict[str, Any]


def schema_of(batch: PyTree, path: str = "") -> Schema:
    """Returns keys and dtypes of a batch, or of its specs."""
    found: Schema = {}
    _collect(batch, path, found)
    return found


def _collect(tree: PyTree, path: str, found: Schema) -> None:
    if isinstance(tree, dict):
        for key, child in tree.items():
            _collect(child, f"{path}.{key}" if path else str(key), found)
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            _collect(child, f"{path}.{index}" if path else str(index), found)
    elif isinstance(tree, str | bytes):
        found[path] = "text"
    else:
        is_array = type(tree) is np.ndarray
        dtype = tree.dtype if is_array else _specs.np_dtype(tree.dtype)
        found[path] = "text" if dtype.kind in "OUS" else dtype


def check(actual: Schema, expected: Schema, name_first_row: Callable[[], str]) -> None:
    """Raises `DataError` unless a batch has the keys and dtypes of the others.

    Args:
      actual: Of the batch.
      expected: Of the others.
      name_first_row: Returns what the batch's first example is called in messages.
    """
    if actual == expected:
        return
    if actual.keys() != expected.keys():
        lacks = sorted(expected.keys() - actual.keys())
        more = sorted(actual.keys() - expected.keys())
        parts = [f"lacks {lacks}" if lacks else "", f"has also {more}" if more else ""]
        raise _errors.DataError(
            f"All elements must have the same keys, which are {sorted(expected)}: "
            f"{name_first_row()} {' and '.join(filter(None, parts))}. Drop or add keys "
            "with `kd.data.Elements(keep=...)` or `kd.data.AddConstants`."
        )
    path = next(path for path in expected if actual[path] != expected[path])
    where = f"The value of key {path!r}" if path else "The element"
    raise _errors.DataError(
        f"{where} is {actual[path]} in {name_first_row()}, and {expected[path]} in the "
        "examples before, as `element_spec` says. Give it one dtype with "
        f"`kd.data.Cast(key={path or '...'!r}, dtype=...)`, or a function of your own."
    )
