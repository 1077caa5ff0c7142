"""Transforms of nested values."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron import data


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeUnflattenForKey(data.MapTransform):
    """Makes one nested value of the keys that begin alike.

    `{"a/b": 1, "a/c/d": 2}` becomes `{"a": {"b": 1, "c": {"d": 2}}}` for the key `a`.

    Attributes:
      key: The name that they begin with, and the key of the result.
      separator: Between the names along a path.

    Raises:
      DataKeyError: If no key begins so, or one is both a value and a nest.
    """

    key: str
    separator: str = "/"

    def map(self, element: Any) -> Any:
        prefix = f"{self.key}{self.separator}"
        nest: dict[str, Any] = {}
        for name, value in element.items():
            if name.startswith(prefix):
                self._put(nest, name.removeprefix(prefix).split(self.separator), value)
        if not nest or self.key in element:
            problem = "exists already" if nest else f"no key begins with {prefix!r}"
            raise data.DataKeyError(
                f"TreeUnflattenForKey({self.key!r}): {problem}. The elements have "
                f"{sorted(element)}."
            )
        others = {k: v for k, v in element.items() if not k.startswith(prefix)}
        return {**others, self.key: nest}

    def _put(self, nest: dict[str, Any], path: list[str], value: object) -> None:
        *parents, last = path
        for parent in parents:
            nest = nest.setdefault(parent, {})
            if not isinstance(nest, dict):
                raise self._clash(parent)
        if last in nest:
            raise self._clash(last)
        nest[last] = value

    def _clash(self, name: str) -> data.DataKeyError:
        return data.DataKeyError(
            f"TreeUnflattenForKey({self.key!r}): {name!r} is both a value and a nest."
        )
