"""Adapters for foreign transforms: plain functions, and grain's classes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from kauldron.data import _errors


def kind_of(transform: Any) -> tuple[str | None, Callable[..., Any]]:
    """Returns how to call a transform: what kind it is, and the function.

    Kinds are `'map'`, `'filter'`, `'random_map'`, `'map_with_index'`, or `None` if it
    is not a transform.

    Raises:
      DataError: If it is a grain transform that cannot be used here.
    """
    grain = sys.modules.get("grain")  # its transforms cannot exist before it does
    if grain is not None:
        kinds = grain.transforms
        if isinstance(transform, kinds.RandomMap):
            return "random_map", transform.random_map
        if isinstance(transform, kinds.MapWithIndex):
            return "map_with_index", transform.map_with_index
        if isinstance(transform, kinds.Filter):
            return "filter", transform.filter
        if isinstance(transform, kinds.Map):
            return "map", transform.map
        if isinstance(transform, kinds.Batch):
            raise _errors.DataError(
                "`grain.transforms.Batch` cannot be one of the `transforms`: set "
                f"`batch_size={transform.batch_size}` of the pipeline."
            )
    if type(transform).__name__ == "FlatMapTransform":
        raise _errors.DataError(
            "A flat map has no random access, so the pipeline could not be resumed "
            "exactly. Expand the records in a data source, whose `__getitem__(i)` "
            "returns the i-th piece."
        )
    if callable(transform) and not isinstance(transform, type):
        return "map", transform
    return None, _not_callable


def _not_callable(*args: Any) -> Any:
    raise TypeError("no transform")
