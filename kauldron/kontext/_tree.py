"""Path traversal: reading one part, listing the children of an object."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MAX_NODES = 20_000
_MAX_DEPTH = 24


class MissingPart(Exception):
    """Internal: an object has no such part."""


def get_part(obj: Any, part: Any) -> Any:
    """Returns `obj[part]`, or `obj.part`.

    Items come first, so that the key `'items'` of a dict is not its method.

    Raises:
      MissingPart: If there is neither.
    """
    cls = type(obj)
    if cls is dict:
        try:
            return obj[part]
        except (KeyError, TypeError):  # missing, or unhashable such as a slice
            raise MissingPart from None
    if hasattr(cls, "__getitem__"):
        try:
            return obj[part]
        except (LookupError, TypeError, ValueError):
            pass
        if cls is list or cls is tuple:
            raise MissingPart
    elif _is_abstract_array(obj):
        return _get_abstract_part(obj, part)
    if type(part) is not str:
        raise MissingPart
    try:
        value = getattr(obj, part)
    except AttributeError:
        raise MissingPart from None
    if isinstance(obj, Mapping | tuple) and inspect.isroutine(value):
        raise MissingPart  # `batch.keys` is a mistake, not a method call
    return value


def read_prefix(obj: object, parts: Sequence[Any]) -> tuple[int, Any]:
    """Returns how many parts exist, and the value at the last that does."""
    for i, part in enumerate(parts):
        try:
            obj = get_part(obj, part)
        except MissingPart:
            return i, obj
    return len(parts), obj


def read_prefixes(obj: object, paths: Iterable[Sequence[Any]]) -> list[tuple[int, Any]]:
    """Returns `read_prefix` of each path."""
    return [read_prefix(obj, parts) for parts in paths]


def _is_abstract_array(obj: object) -> bool:
    return hasattr(obj, "shape") and hasattr(obj, "dtype")


def _get_abstract_part(obj: Any, part: Any) -> Any:
    """Indexes a `ShapeDtypeStruct` as if it were the array it stands for."""
    is_name = type(part) is str
    if is_name and hasattr(obj, part):
        return getattr(obj, part)
    import jax

    if is_name and not hasattr(jax.Array, part):
        raise MissingPart
    index = (lambda x: getattr(x, part)) if is_name else (lambda x: x[part])
    try:
        return jax.eval_shape(index, jax.ShapeDtypeStruct(obj.shape, obj.dtype))
    except (LookupError, TypeError, ValueError) as error:
        raise MissingPart from error


def is_namedtuple(obj: object) -> bool:
    return isinstance(obj, tuple) and hasattr(obj, "_fields")


def is_dataclass_instance(obj: object) -> bool:
    return dataclasses.is_dataclass(obj) and not isinstance(obj, type)


def children(obj: Any) -> list[tuple[Any, Any]] | None:
    """Returns `(part, child)` for every child, or `None` if `obj` is a leaf."""
    if isinstance(obj, Mapping):
        return [(key, _get_or_none(obj, key)) for key in obj]
    if is_namedtuple(obj):
        return [(name, getattr(obj, name)) for name in obj._fields]
    if isinstance(obj, list | tuple):
        return list(enumerate(obj))
    if is_dataclass_instance(obj):
        return [
            (f.name, getattr(obj, f.name))
            for f in dataclasses.fields(obj)
            if hasattr(obj, f.name)
        ]
    return None


def _get_or_none(obj: Mapping[Any, Any], key: object) -> Any:
    try:
        return obj[key]
    except Exception:  # an unset placeholder, a reference to nowhere: nothing below
        return None


def walk(obj: object) -> list[tuple[tuple[Any, ...], Any]]:
    """Returns `(parts, node)` of everything below `obj`, breadth first, bounded."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    level: list[tuple[tuple[Any, ...], Any, frozenset[int]]] = [((), obj, frozenset())]
    for _ in range(_MAX_DEPTH):
        below = []
        for parts, node, ancestors in level:
            if id(node) in ancestors or (kids := children(node)) is None:
                continue
            above = ancestors | {id(node)}
            for part, child in kids:
                found.append(((*parts, part), child))
                below.append((*found[-1], above))
            if len(found) > _MAX_NODES:
                return found
        level = below
    return found
