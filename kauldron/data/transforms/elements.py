"""Transforms that select, rename, drop, add and flatten the keys of elements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron.data import _errors
from kauldron.data.transforms import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elements(base.MapTransform):
    """Keeps, drops, renames and copies keys of dict elements.

    Copies are made first; with `keep`, copied and renamed keys stay too. Nothing is
    ever overwritten.

    Attributes:
      keep: The only keys to keep.
      drop: Keys to drop; not together with `keep`.
      rename: From the name to the new name.
      copy: From the name to the name of the copy.

    Raises:
      DataKeyError: A `KeyError`: a key that the elements lack, one that is named by two
        of the lists, or a result that exists already.
      DataError: A `ValueError`: both `keep` and `drop`, or two results of one name.

    Example:

    ```python
    transform = kd.data.Elements(keep=["image"], rename={"label": "target"})
    transform.map({"image": 1, "label": 2, "id": 3})  # {"image": 1, "target": 2}
    ```
    """

    keep: Sequence[str] = ()
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    copy: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("keep", "drop"):
            if isinstance(getattr(self, name), str):
                raise _errors.DataError(
                    f"Elements: `{name}` is a list of keys: got the string "
                    f"{getattr(self, name)!r}. Write `{name}=[...]`."
                )
        if self.keep and self.drop:
            raise _errors.DataError(
                "Elements: give `keep` or `drop`, not both: got "
                f"keep={list(self.keep)}, drop={list(self.drop)}."
            )
        for name in ("keep", "drop"):
            both = sorted(set(getattr(self, name)) & set(self.rename))
            if both:
                raise _errors.DataKeyError(
                    f"Elements: {both} are both in `{name}` and in `rename`. A renamed "
                    f"key is kept under its new name: leave it out of `{name}`."
                )
        for name in ("rename", "copy"):
            results = list(getattr(self, name).values())
            if len(set(results)) < len(results):
                raise _errors.DataError(
                    f"Elements: two keys get the same name in `{name}`: {results}."
                )
        for key in set(self.copy.values()) & set(self.rename.values()):
            raise _errors.DataKeyError(
                f"Elements: a copy and a new name both would overwrite the key {key!r}. "
                "Choose another name for one of them."
            )

    def map(self, features: Mapping[str, Any]) -> Any:
        if not isinstance(features, Mapping):
            raise _errors.DataError(
                f"Elements needs elements that are dicts: got {type(features).__name__}."
            )
        for key in (*self.keep, *self.drop, *self.rename, *self.copy):
            if key not in features:
                raise _errors.missing_key("Elements", key, features)
        changed = dict(features)
        for key, target in self.copy.items():
            self._add(changed, target, features[key], f"copy of {key!r}")
        if self.keep:
            kept = {*self.keep, *self.rename, *self.copy.values()}
            changed = {k: v for k, v in changed.items() if k in kept}
        for key in self.drop:
            del changed[key]
        renamed = {key: changed.pop(key) for key in self.rename}
        for key, value in renamed.items():
            self._add(changed, self.rename[key], value, f"new name of {key!r}")
        return changed

    def map_columns(self, columns: dict[str, Any], num_rows: int) -> dict[str, Any]:
        """Keeps, drops and renames columns, as `map` does with keys."""
        del num_rows
        return self.map(columns)

    def _add(self, element: dict[str, Any], key: str, value: object, what: str) -> None:
        if key in element:
            raise _errors.DataKeyError(
                f"Elements: the {what} would overwrite the key {key!r}. Choose another "
                f"name; taken are {sorted(element)}."
            )
        element[key] = value


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddConstants(base.MapTransform):
    """Adds the same values to every element.

    Attributes:
      values: Key -> value: a number, array or string.

    Raises:
      DataKeyError: If an element has such a key already.
    """

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def map(self, features: Mapping[str, Any]) -> Any:
        self._check(features)
        return {**features, **self.values}

    def map_columns(self, columns: dict[str, Any], num_rows: int) -> dict[str, Any]:
        """Adds the values as columns of `num_rows` rows."""
        self._check(columns)
        added: dict[str, Any] = {}
        for key, value in self.values.items():
            if isinstance(value, bool | int | float | np.ndarray | np.generic):
                array = np.asarray(value)
                added[key] = np.broadcast_to(array, (num_rows, *array.shape)).copy()
            else:
                added[key] = [value] * num_rows
        return {**columns, **added}

    def _check(self, element: Mapping[str, Any]) -> None:
        taken = sorted(set(self.values) & set(element))
        if taken:
            raise _errors.DataKeyError(
                f"AddConstants: the elements already have {taken}. Choose other names, "
                "or drop those keys first with `kd.data.Elements(drop=...)`."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack(base.MapTransform):
    """Adds one array made of several numbers, such as the columns of a table.

    Attributes:
      keys: Keys of the numbers, or of arrays of one shape; they stay.
      to: Key of the array `[*shape keys]`.
      dtype: Of the array.

    Raises:
      DataKeyError: If a key is missing, or the result exists already.
      DataError: If there are no keys.

    Example:

    ```python
    transform = kd.data.Stack(keys=["height", "width"], to="x")
    transform.map({"height": 3, "width": 5})["x"]  # array([3., 5.], dtype=float32)
    ```
    """

    keys: Sequence[str]
    to: str
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.keys, str) or not self.keys:
            raise _errors.DataError(
                f"Stack: `keys` is a list of one or more keys: got {self.keys!r}."
            )

    def map(self, features: Mapping[str, Any]) -> Any:
        for key in self.keys:
            if key not in features:
                raise _errors.missing_key("Stack", key, features)
        if self.to in features:
            raise _errors.DataKeyError(
                f"Stack: {self.to!r} exists already. Choose another name in `to`."
            )
        arrays = [np.asarray(features[key]).astype(self.dtype) for key in self.keys]
        return {**features, self.to: np.stack(arrays, axis=-1)}

    def map_columns(self, columns: dict[str, Any], num_rows: int) -> dict[str, Any]:
        """Stacks whole columns, as `map` does with numbers."""
        del num_rows
        return self.map(columns)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeFlattenWithPath(base.MapTransform):
    """Replaces a nested value by one key for each of its leaves.

    Attributes:
      key: Key of a nest of dicts, lists and tuples.
      separator: Joins the names along the path: `{"a": {"b": [1]}}` becomes
        `{"a_b_0": 1}`.

    Raises:
      DataKeyError: If the key is missing, or a result exists already.
    """

    key: str
    separator: str = "_"

    def map(self, features: Mapping[str, Any]) -> Any:
        if self.key not in features:
            raise _errors.missing_key("TreeFlattenWithPath", self.key, features)
        flat = {k: v for k, v in features.items() if k != self.key}
        for path, leaf in _leaves(features[self.key], (self.key,)):
            name = self.separator.join(map(str, path))
            if name in flat:
                raise _errors.DataKeyError(
                    f"TreeFlattenWithPath: {name!r} exists already. Use another "
                    "`separator`, or rename that key first."
                )
            flat[name] = leaf
        return flat


def _leaves(tree: Any, path: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, list | tuple):
        items = list(enumerate(tree))
    else:
        return [(path, tree)]
    return [leaf for key, child in items for leaf in _leaves(child, (*path, key))]
