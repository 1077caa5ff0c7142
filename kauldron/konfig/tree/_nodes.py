"""Basic queries on a node: keys, calls, equality, descendants."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from ml_collections import config_dict

from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname, _short_names
from kauldron.konfig.tree import _placeholder, _reference

FieldReference = config_dict.FieldReference

# What JSON has in place of a required value that is not set.
REQUIRED_QUALNAME = "kauldron.konfig:required"


def fields_of(node: Any) -> dict[Any, Any]:
    """Returns what a node holds, references kept."""
    return node._fields


def to_key(node: Any, key: Any, *, for_writing: bool = False) -> Any:
    """Returns the key as it is stored.

    An int means a positional argument of a call; a tuple, a key that holds dots.
    """
    if type(key) is str:
        return key
    if type(key) is tuple:
        return ".".join(map(str, key))
    if type(key) is not int or _qualname.QUALNAME not in node._fields:
        return key
    num_args = num_positional(node)
    index = key + num_args if key < 0 else key
    if 0 <= index < num_args or (for_writing and index == num_args and key >= 0):
        return str(index)
    raise _errors.ConfigIndexError(
        f"`{node[_qualname.QUALNAME]}` has {num_args} positional arguments, there is no "
        f"argument {key}."
    )


def num_positional(node: Any) -> int:
    """Returns how many of the keys `'0'`, `'1'`, ... a call has."""
    count = 0
    while str(count) in node._fields:
        count += 1
    return count


def raw_items(values: Any) -> Any:
    """Returns key and value pairs, references kept."""
    if isinstance(values, config_dict.ConfigDict):
        return list(fields_of(values).items())
    if isinstance(values, dict):
        return list(dict.items(values))  # `.items` of a proxy is a name in its module
    if isinstance(values, Mapping):
        return list(values.items())
    return list(values)  # pairs, as `dict.update` takes them


def check_special(fields: dict[Any, Any], key: Any) -> None:
    if _qualname.CONST in fields:
        raise both_special() if key == _qualname.QUALNAME else const_with_others([key])
    if key == _qualname.CONST and fields:
        raise (
            both_special()
            if _qualname.QUALNAME in fields
            else const_with_others(fields)
        )


def both_special() -> _errors.ConfigError:
    return _errors.ConfigError(
        f"A config node has either {_qualname.QUALNAME!r} (a call) or {_qualname.CONST!r} (an object as it "
        "is), not both."
    )


def const_with_others(others: Any) -> _errors.ConfigError:
    return _errors.ConfigError(
        f"A constant has no other keys beside {_qualname.CONST!r}: got {list(others)}."
    )


def missing_key(node: Any, key: Any) -> _errors.ConfigKeyError:
    names = [
        str(k) for k in node._fields if k not in (_qualname.QUALNAME, _qualname.CONST)
    ]
    near = _short_names.did_you_mean(str(key), names)
    what = "The config"
    if _qualname.QUALNAME in node._fields:
        what = f"`{node._fields[_qualname.QUALNAME]}`"
    return _errors.ConfigKeyError(
        f"{what} has no field {key!r}.{near} Its fields: "
        f"{_errors.list_names(names) or '(none)'}."
    )


def unset_key(
    key: Any, field: config_dict.FieldReference
) -> _errors.RequiredValueError:
    expected = _placeholder.describe_type(field.get_type())
    return _errors.RequiredValueError(
        f"The required field {key!r} is not set{expected}. Set it in the config or on "
        f"the command line: `--cfg.{key}=...`."
    )


def can_merge(old: Any, new: Any) -> bool:
    if not isinstance(old, config_dict.ConfigDict):
        return False
    if not isinstance(new, Mapping | config_dict.ConfigDict):
        return False
    if _qualname.CONST in old or _qualname.CONST in new:
        return False
    return (
        _qualname.QUALNAME not in new
        or fields_of(old).get(_qualname.QUALNAME) == new[_qualname.QUALNAME]
    )


def equal(a: Any, b: Any, compared: set[tuple[int, int]]) -> bool:
    """Compares by value: references count as what they refer to."""
    a, b = _plain(a), _plain(b)
    if a is b:
        return True
    if isinstance(a, config_dict.ConfigDict):
        if not isinstance(b, config_dict.ConfigDict):
            return False
        if (id(a), id(b)) in compared:  # a cycle: equal unless shown otherwise
            return True
        compared.add((id(a), id(b)))
        fields, others = fields_of(a), fields_of(b)
        return fields.keys() == others.keys() and all(
            equal(value, others[key], compared) for key, value in fields.items()
        )
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(
            equal(x, y, compared) for x, y in zip(a, b, strict=True)
        )
    return bool(a == b)


def _plain(value: Any) -> Any:
    if not isinstance(value, FieldReference):
        return value
    if _placeholder.is_required_unset(value):
        return ("required", value.get_type())
    try:
        return value.get()
    except _errors.ConfigError:  # no value: equal to itself only
        return repr(value)


def peek(value: Any) -> Any:
    """Returns the value behind references; the reference itself if it has none."""
    if not isinstance(value, _reference.FieldReference):
        return value
    if _placeholder.is_required_unset(value):
        return value
    try:
        return value.get()
    except Exception:  # shown as the expression that it is; reading it raises
        return value


def split_call(node: Any) -> tuple[list[Any], dict[Any, Any]]:
    """Returns positional and keyword arguments of a call node, references kept."""
    named = dict(node._fields)
    del named[_qualname.QUALNAME]
    positional: list[Any] = []
    while (key := str(len(positional))) in named:
        positional.append(named.pop(key))
    return positional, named


def is_argument_name(key: Any) -> bool:
    """Returns whether a key can be written as `key=value` in a call."""
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


def is_stand_in(value: Any) -> bool:
    """Returns whether a dict is the stand-in of something that is not imported yet."""
    return hasattr(type(value), "__konfig_module__")
