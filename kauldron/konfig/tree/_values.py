"""Values of a config: conversion, and the types of fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
from collections.abc import Callable
from typing import Any

from ml_collections import config_dict

from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _reference

# Exact types of what is a value by itself: the common case, which is asked for first.
SCALARS = frozenset(
    (int, float, complex, bool, str, bytes, type(None), type(...), slice)
)
_SCALAR_BASES = (int, float, str, bytes, slice, os.PathLike)
_SEQUENCES = (list, tuple, set, frozenset)

MakeNode = Callable[[Any, dict[int, Any]], Any]


def convert(value: Any, make_node: MakeNode, memo: dict[int, Any]) -> Any:
    """Returns a value as a config holds it.

    Args:
      value: What the user assigned.
      make_node: Makes a `ConfigDict` of a dict.
      memo: Nodes already made, by the id of the dict they were made of; it keeps shared
        and cyclic dicts shared and cyclic.

    Raises:
      ConfigError: A `ValueError`: a Python object that is not a config value.
    """
    cls = type(value)
    if cls in SCALARS or isinstance(value, config_dict.FieldReference):
        return value
    if cls in _SEQUENCES:
        return _convert_sequence(value, make_node, memo)
    if isinstance(value, dict | config_dict.ConfigDict):
        return make_node(value, memo)
    if hasattr(cls, "__as_konfig__"):
        return convert(value.__as_konfig__(), make_node, memo)
    if cls is functools.partial:
        return make_node(_partial_to_dict(value), memo)
    if isinstance(value, list | tuple | set | frozenset):
        return _convert_subclass(value, make_node, memo)
    if isinstance(value, _SCALAR_BASES):
        return value
    if cls.__name__ == "ConfigArgs" and dataclasses.is_dataclass(cls):
        return make_node(dataclasses.asdict(value), memo)
    raise _not_a_value(value)


def _convert_sequence(value: Any, make_node: MakeNode, memo: dict[int, Any]) -> Any:
    items = [convert(item, make_node, memo) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value  # the same list: the user may go on appending to it
    if isinstance(value, set | frozenset):
        for item in items:
            if isinstance(item, config_dict.ConfigDict):
                raise _errors.ConfigError(
                    f"A set in a config can hold numbers and strings only, got "
                    f"{_errors.short(item)}. Use a list."
                )
    return type(value)(items)


def _convert_subclass(value: Any, make_node: MakeNode, memo: dict[int, Any]) -> Any:
    """Keeps namedtuples and list subclasses that hold plain values."""
    items = [convert(item, make_node, memo) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    if hasattr(value, "_make"):
        return type(value)._make(items)
    return type(value)(items)


def _partial_to_dict(value: functools.partial) -> dict[str, Any]:
    positional = {str(i + 1): arg for i, arg in enumerate(value.args)}
    return {
        _qualname.QUALNAME: "functools:partial",
        "0": value.func,
        **positional,
        **value.keywords,
    }


def _not_a_value(value: Any) -> _errors.ConfigError:
    kind = f"the {type(value).__name__}"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    advice = (
        "Import the module it comes from inside `with konfig.imports():` (in a notebook, "
        "write the config inside `with konfig.mock_modules():`), so that calling it makes "
        "a config node instead of an object."
    )
    if getattr(value, "__module__", None) == "__main__":
        advice = (
            "It is defined in this notebook or script: `import __main__ as here`, and "
            f"write `here.{name}` inside `with konfig.mock_modules():`, so that calling it "
            "makes a config node instead of an object."
        )
    if isinstance(value, types.ModuleType):
        kind = "the module"
    elif inspect.isclass(value):
        kind = "the class"
    elif inspect.isroutine(value):
        kind = "the function"
    return _errors.ConfigError(
        f"A config cannot hold {kind} {_errors.short(value)}: configs are made of "
        f"numbers, strings, lists, dicts, and nodes. {advice}"
    )


def cast(name: str, old: Any, new: Any) -> Any:
    """Returns the new value of a field that has one, in the field's type.

    An `int` becomes a `float` in a field of floats, lists and tuples become each other.
    `None` fits everywhere, as does what only becomes known later: a reference, a call.

    Args:
      name: The field, for messages.
      old: The value so far.
      new: The value to be.

    Raises:
      ConfigTypeError: A `TypeError`: the field holds values of another type.
    """
    cls = type(old)
    if new is None or old is None or cls is type(new):
        return new
    if isinstance(new, config_dict.FieldReference) or is_call_or_const(new):
        return new
    if cls is float and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if cls is list and isinstance(new, tuple):
        return list(new)
    if cls is tuple and isinstance(new, list):
        return tuple(new)
    if isinstance(old, str | os.PathLike) and isinstance(new, str | os.PathLike):
        return new
    if isinstance(new, cls):
        return new
    raise type_error(name, cls, new)


def type_error(name: str, expected: Any, new: Any) -> _errors.ConfigTypeError:
    """Returns the error for a value of the wrong type."""
    if isinstance(expected, type) and issubclass(expected, config_dict.ConfigDict):
        what = "a dict or a call"
        advice = f" To replace it, `del cfg.{name}` first."
    else:
        what = f"{getattr(expected, '__name__', expected)}"
        advice = " `with cfg.ignore_type():` allows any type."
    return _errors.ConfigTypeError(
        f"The field {name!r} holds {what}, got {_errors.short(new)} "
        f"({type(new).__name__}).{advice}"
    )


def is_call_or_const(value: Any) -> bool:
    """Returns whether the value is a node that stands for a Python object."""
    if not isinstance(value, config_dict.ConfigDict):
        return False
    fields = value.__dict__["_fields"]
    return _qualname.QUALNAME in fields or _qualname.CONST in fields


def set_through(name: str, field: config_dict.FieldReference, value: Any) -> Any:
    """Returns what the field holds after setting a value where a reference was.

    A placeholder takes the value, for everybody who refers to it. A computed value is
    replaced in this field only.
    """
    if isinstance(value, config_dict.FieldReference):
        return value
    if isinstance(field, _reference.Reference):
        return _replace_computed(name, field, value)
    try:
        field.set(value, type_safe=not is_call_or_const(value))
    except _errors.ConfigError:
        raise
    except TypeError:
        raise type_error(name, field.get_type(), value) from None
    return field


def _replace_computed(name: str, field: _reference.Reference, value: Any) -> Any:
    try:
        old = field.get()
    except _errors.ConfigError:  # it had no value anyway
        return value
    if isinstance(old, config_dict.ConfigDict) or isinstance(value, dict):
        return value  # such as a schedule that becomes a number
    return cast(name, old, value)
