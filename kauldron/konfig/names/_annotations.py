"""Type annotations of arguments: what they rule out for certain, and their text."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import os
import types
import typing
from typing import Any

SCALARS = (bool, int, float, str, bytes)
# Annotation -> what a config holds for it.
_SEQUENCES: dict[Any, type] = {
    list: list,
    tuple: tuple,
    set: list,
    frozenset: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.Set: list,
    collections.abc.MutableSet: list,
}
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def alternatives(annotation: Any) -> list[Any] | None:
    """Returns the members of a union, flat; `None` if they are not all known.

    `Annotated`, `NewType`, `Final` and `type` statements count as what they are made of.
    """
    if isinstance(annotation, typing.NewType):
        return alternatives(annotation.__supertype__)
    if type(annotation).__name__ == "TypeAliasType":  # since Python 3.12
        return alternatives(annotation.__value__)
    origin = typing.get_origin(annotation)
    if origin in (typing.Annotated, typing.Final):
        return alternatives(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        found: list[Any] = []
        for member in typing.get_args(annotation):
            below = alternatives(member)
            if below is None:
                return None
            found.extend(below)
        return found
    if annotation is None:
        return [type(None)]
    if isinstance(annotation, type | typing.TypeVar) or origin is not None:
        return [annotation]
    return None


def is_scalar_type(annotation: Any) -> bool:
    """Returns whether all values of the type are numbers, strings, bytes or `None`."""
    if typing.get_origin(annotation) is typing.Literal:
        return True
    return annotation in (*SCALARS, type(None))


def sequence_type(annotation: Any) -> type | None:
    """Returns `list` or `tuple` for the annotation of one; `None` if it is none."""
    return _SEQUENCES.get(typing.get_origin(annotation) or annotation)


def item_types(annotation: Any, length: int) -> list[Any] | None:
    """Returns the annotation of each of `length` items; `None` if they cannot be so many.

    An item that can be anything has `Any`.
    """
    args = typing.get_args(annotation)
    is_tuple = (typing.get_origin(annotation) or annotation) is tuple
    if not args:
        is_empty = is_tuple and isinstance(
            annotation, types.GenericAlias
        )  # `tuple[()]`
        return [Any] * length if not (is_empty and length) else None
    if not is_tuple or args[-1] is ...:
        return [args[0]] * length
    return list(args) if len(args) == length else None


def is_mapping(annotation: Any) -> bool:
    """Returns whether an annotation is that of a dict."""
    origin = typing.get_origin(annotation) or annotation
    return origin in _MAPPINGS or typing.is_typeddict(origin)


def is_enum(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def is_path(annotation: Any) -> bool:
    """Returns whether an annotation is a class of paths of the file system."""
    if typing.get_origin(annotation) is os.PathLike:
        return True
    return isinstance(annotation, type) and hasattr(annotation, "__fspath__")


def is_record(annotation: Any) -> bool:
    """Returns whether an annotation is a dataclass or a namedtuple."""
    if not isinstance(annotation, type):
        return False
    return dataclasses.is_dataclass(annotation) or hasattr(annotation, "_make")


def is_certain(annotation: Any) -> bool:
    """Returns whether the annotation rules out all values of the wrong type.

    That is so if it is made of scalar types, containers, enums, paths, and of classes
    that are plain records: other classes may be made of whatever is given.
    """
    members = alternatives(annotation)
    return bool(members) and all(map(is_certain_member, members))


def is_certain_member(member: Any) -> bool:
    """`is_certain` for a member of a union."""
    return (
        is_scalar_type(member)
        or sequence_type(member) is not None
        or is_mapping(member)
        or is_enum(member)
        or is_path(member)
        or is_record(member)
    )


def accepted_scalars(annotation: Any) -> frozenset[type] | None:
    """Returns the scalar types that an annotation accepts.

    `None` if that depends on the value, or if the annotation is not made of types.
    """
    members = alternatives(annotation)
    if not members or not all(isinstance(m, type) for m in members):
        return None
    return frozenset(t for t in SCALARS if accepts(annotation, t()))


def accepts(annotation: Any, value: Any) -> bool:
    """Returns `False` if a plain value certainly does not fit an annotation.

    Only annotations that are made of scalar types are certain for a value that was
    written in Python: anything else may be converted by its constructor. A whole `float`
    passes for an `int`, and `None` for everything.
    """
    if not isinstance(value, SCALARS):
        return True
    members = alternatives(annotation)
    if not members or not all(is_scalar_type(m) for m in members):
        return True
    return any(_accepts_scalar(m, value) for m in members)


def _accepts_scalar(member: Any, value: Any) -> bool:
    if typing.get_origin(member) is typing.Literal:
        return value in typing.get_args(member)
    if member is type(None):
        return False
    if isinstance(value, member):
        return True
    is_number = isinstance(value, int | float)
    if member is float:
        return isinstance(value, int) and not isinstance(value, bool)
    return (member is int and is_number) or (member is bool and isinstance(value, int))


def describe(annotation: Any) -> str:
    """Returns an annotation as users write it."""
    if annotation is type(None):
        return "None"
    members = alternatives(annotation)
    if members is not None and members != [annotation]:
        return " | ".join(describe(m) for m in members)
    if is_enum(annotation):
        return f"{annotation.__qualname__} ({', '.join(annotation.__members__)})"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "").replace("collections.abc.", "")
