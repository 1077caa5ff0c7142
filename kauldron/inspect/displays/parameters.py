"""The parameters of a model: counts, bytes, shapes, sharding, statistics, by depth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from kauldron import kontext
from kauldron._base import errors, text_tables
from kauldron.inspect import _sharding_table
from kauldron.inspect.displays.tables import Table
from kauldron.ktyping import PyTree

_STATISTICS = ("mean", "std", "min", "max")


class ParameterTableError(errors.UserError, ValueError):
    """A table of parameters that cannot be made as asked for."""


def parameter_table(
    params: PyTree, *, depth: int | None = None, statistics: bool = False
) -> Table:
    """Returns the parameters of a model as a table.

    Args:
      params: Tree of arrays or of shapes, such as `trainer.state_specs.params`; or what
        has a field `params`, such as a state; or a trainer, of which nothing is computed.
      depth: How many names of a path are told apart: 1 has a row for each module of the
        model. All unless given.
      statistics: Adds mean, standard deviation, least and greatest value. Needs arrays.

    Raises:
      ParameterTableError: A `ValueError`: `depth` is less than 1, or statistics are
        asked of shapes.
    """
    if depth is not None and depth < 1:
        raise ParameterTableError(f"`depth` counts names, from 1 on: got {depth}.")
    params = getattr(params, "state_specs", params)
    params = getattr(params, "params", params)
    leaves = kontext.flatten_with_path(params)
    if statistics and any(isinstance(x, jax.ShapeDtypeStruct) for x in leaves.values()):
        raise ParameterTableError(
            "Statistics need arrays, and these are shapes: give the parameters of a state "
            "(`trainer.init_state().params`)."
        )
    groups: dict[str, list[Any]] = {}
    for path, leaf in leaves.items():
        parts = kontext.Path.from_str(path).parts
        name = str(kontext.Path(*parts[:depth]))
        groups.setdefault(name, []).append(leaf)
    total = sum(_size(x) for x in leaves.values())
    num_bytes = sum(_sharding_table.bytes_of(x)[0] for x in leaves.values())
    extra = _STATISTICS if statistics else ()
    rows = [
        (*_row(name, group), *(_describe(group) if statistics else ()))
        for name, group in groups.items()
    ]
    return Table(
        title="Parameters",
        columns=("name", "shape", "dtype", "numbers", "bytes", "split over", *extra),
        rows=tuple(rows),
        notes=(
            f"{total:,} numbers in {len(leaves)} arrays, "
            f"{text_tables.format_bytes(num_bytes)}",
        ),
    )


def _row(name: str, group: list[Any]) -> tuple[Any, ...]:
    shapes = {text_tables.format_shape(x.shape) for x in group}
    dtypes = sorted({str(x.dtype) for x in group})
    shape = shapes.pop() if len(group) == 1 else f"{len(group)} arrays"
    splits = {_sharding_table.describe_split(x) for x in group}
    return (
        name,
        shape,
        ", ".join(dtypes),
        sum(map(_size, group)),
        sum(_sharding_table.bytes_of(x)[0] for x in group),
        splits.pop() if len(splits) == 1 else "several ways",
    )


def _size(leaf: Any) -> int:
    return math.prod(leaf.shape)


def _describe(group: Iterable[Any]) -> tuple[float, ...]:
    values = [np.asarray(x).astype(np.float64).ravel() for x in group]
    joined = np.concatenate(values) if values else np.zeros(0)
    if not joined.size:
        return (math.nan,) * len(_STATISTICS)
    return (
        float(joined.mean()),
        float(joined.std()),
        float(joined.min()),
        float(joined.max()),
    )
