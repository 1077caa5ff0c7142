"""Per-example values: which keys have them, and how they reach the host.

Model outputs are taken from the context inside the jitted step. Batch values are taken
from the batch on the host, which still has text, and i64 that JAX would turn into i32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, sharding
from kauldron._base import errors
from kauldron.step.context import Context

Keys = Mapping[str, str] | Sequence[str] | str

# Parts of a context whose arrays have a row per example.
_PER_EXAMPLE = ("batch", "preds", "interms")


class RowsError(errors.UserError, ValueError):
    """Values that cannot be written per example."""


@dataclasses.dataclass
class Rows:
    """The values of one batch, on their way to the host.

    Attributes:
      arrays: Column -> array of the global batch, on devices.
      host_arrays: Column -> values that this process loaded.
      num_rows: Rows of the global batch.
      is_whole: Whether every process loaded the global batch, and not its part.
    """

    arrays: Mapping[str, jax.Array]
    host_arrays: Mapping[str, np.ndarray]
    num_rows: int
    is_whole: bool

    def start_copy(self) -> None:
        """Starts the transfer; returns immediately."""
        for array in self.arrays.values():
            array.copy_to_host_async()

    def fetch(self) -> tuple[slice, dict[str, np.ndarray]]:
        """Returns the rows that this process is to write, and which they are."""
        own = sharding.own_rows(self.num_rows)
        has_all = self.is_whole or jax.process_count() == 1
        columns = {name: sharding.fetch_rows(x) for name, x in self.arrays.items()}
        for name, values in self.host_arrays.items():
            columns[name] = _without_objects(name, values[own] if has_all else values)
        for name, values in columns.items():
            if len(values) != own.stop - own.start:
                raise RowsError(f"The output {name!r} {_misfit(values, self.num_rows)}")
        return own, columns


def by_column(keys: Keys) -> dict[str, str]:
    """Returns column -> key; a list of keys names the columns by the keys."""
    if isinstance(keys, str):
        return {keys: keys}
    return dict(keys) if isinstance(keys, Mapping) else {key: key for key in keys}


def take(context: Context, keys: Keys) -> dict[str, jax.Array]:
    """Returns column -> array of what is not of the batch; runs inside jit.

    A key of a container gives all that is below it.
    """
    columns: dict[str, jax.Array] = {}
    for column, key in by_column(keys).items():
        if _root(key) != "batch":
            value = kontext.get_by_path(context, key)
            columns |= {k: jnp.asarray(x) for k, x in _flatten(value, column).items()}
    num_rows = num_rows_of(context.batch)
    for column, value in columns.items():
        if detail := _misfit(value, num_rows):
            raise RowsError(f"The output {column!r} {detail}")
    return sharding.spread_rows(columns)


def take_from_batch(batch: Any, keys: Keys) -> dict[str, np.ndarray]:
    """Returns column -> values of a batch on the host.

    Raises:
      KeyPathError: If the batch has no such key.
    """
    columns: dict[str, np.ndarray] = {}
    for column, key in by_column(keys).items():
        if _root(key) == "batch":
            value = kontext.get_by_path(_Batch(batch), key)
            # Copies: a loader may write its next batch to the same memory.
            columns |= {k: np.array(x) for k, x in _flatten(value, column).items()}
    return columns


def num_rows_of(batch: Any) -> int:
    """Returns the number of examples of a batch.

    Raises:
      RowsError: If it has no array.
    """
    for leaf in jax.tree.leaves(batch):
        if shape := np.shape(leaf):
            return shape[0]
    raise RowsError("The batch has no array, so the number of its examples is unknown.")


def fields_of(keys: Keys, prefix: str) -> dict[str, str]:
    """Returns field -> key, a field as the user wrote it: `prefix['logits']`."""
    if isinstance(keys, str):
        return {prefix: keys}
    items = keys.items() if isinstance(keys, Mapping) else enumerate(keys)
    return {f"{prefix}[{name!r}]": key for name, key in items}


def check(context: Context, fields: Mapping[str, str]) -> list[kontext.KeyProblem]:
    """Returns what is wrong with keys of values per example.

    Args:
      context: Abstract, after a forward pass; its batch has the texts as well.
      fields: Field as the user wrote it -> key.
    """
    problems: list[kontext.KeyProblem] = []
    num_rows = num_rows_of(context.batch)
    for field, key in fields.items():
        if found := kontext.check_keys(context, {field: key}, prefix=""):
            problems += found
        elif _root(key) not in _PER_EXAMPLE:
            detail = "it has no row per example. 'batch', 'preds' and 'interms' have."
            problems.append(failure(field, key, detail))
        else:
            value = kontext.get_by_path(context, key)
            for name, leaf in _flatten(value, key).items():
                if detail := _misfit(leaf, num_rows):
                    problems.append(failure(field, name, f"it {detail}"))
    return problems


@dataclasses.dataclass(frozen=True)
class _Batch:
    batch: Any


def _misfit(value: Any, num_rows: int) -> str:
    """Returns what keeps a value from having a row per example; `""` if nothing does."""
    shape = np.shape(value)
    if shape[:1] == (num_rows,):
        return ""
    return (
        f"has shape {shape}: its first axis must count the examples of the "
        f"batch, which has {num_rows}."
    )


def failure(field: str, key: str, detail: str) -> kontext.KeyProblem:
    """Returns the problem of a key that exists, but names nothing that fits."""
    return kontext.KeyProblem(field=field, path=key, kind="failure", detail=detail)


def _flatten(value: Any, column: str) -> dict[str, Any]:
    """Returns the leaves below a value; a leaf keeps the name of the column."""
    leaves = kontext.flatten_with_path(value, is_leaf=_is_spec)
    return {_join(column, path): leaf for path, leaf in leaves.items()}


def _is_spec(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _join(column: str, path: str) -> str:
    if not path:
        return column
    return f"{column}{path}" if path.startswith("[") else f"{column}.{path}"


def _root(key: str) -> str:
    return str(key).split(".")[0].split("[")[0]


def _without_objects(name: str, values: np.ndarray) -> np.ndarray:
    """Returns texts in NumPy's own dtypes for them, which need no pickle."""
    if values.dtype.kind != "O":
        return values
    kinds = {type(value) for value in values.ravel()}
    if kinds <= {str}:
        return values.astype(str)
    if kinds <= {bytes}:
        return values.astype(bytes)
    raise RowsError(
        f"The output {name!r} holds {', '.join(sorted(k.__name__ for k in kinds))}: "
        "only arrays of one shape and texts can be written."
    )
