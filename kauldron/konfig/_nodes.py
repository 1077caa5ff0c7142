"""What is known about a node from its fields: keys, calls, equality, descendants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import config_dict

from kauldron._base import errors
from kauldron.konfig import _errors, _proxy, _reference

QUALNAME = _proxy.QUALNAME
CONST = _proxy.CONST
FieldReference = config_dict.FieldReference


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
    if type(key) is not int or QUALNAME not in node._fields:
        return key
    num_args = num_positional(node)
    index = key + num_args if key < 0 else key
    if 0 <= index < num_args or (for_writing and index == num_args and key >= 0):
        return str(index)
    raise _errors.ConfigIndexError(
        f"`{node[QUALNAME]}` has {num_args} positional arguments, there is no "
        f"argument {key}."
    )


def num_positional(node: Any) -> int:
    """Returns how many of the keys `'0'`, `'1'`, ... a call has."""
    count = 0
    while str(count) in node._fields:
        count += 1
    return count


def position_of(node: Any, name: Any) -> str | None:
    """Returns the key of an argument that a call got by position, given its name.

    What is called is imported to know the names; so this is for names that the node does
    not hold. `None` if there is no such argument, or it cannot be known.
    """
    fields = node.__dict__.get("_fields", ())
    if "0" not in fields or QUALNAME not in fields or type(name) is not str:
        return None
    if not name.isidentifier() or name.startswith("_"):
        return None
    from kauldron.konfig import _targets

    try:
        key = _targets.find_key(node, name)
    except Exception:  # what is called cannot be imported here; `resolve` says why
        return None
    return key if key != name else None


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
    if CONST in fields:
        raise both_special() if key == QUALNAME else const_with_others([key])
    if key == CONST and fields:
        raise both_special() if QUALNAME in fields else const_with_others(fields)


def both_special() -> _errors.ConfigError:
    return _errors.ConfigError(
        f"A config node has either {QUALNAME!r} (a call) or {CONST!r} (an object as it "
        "is), not both."
    )


def const_with_others(others: Any) -> _errors.ConfigError:
    return _errors.ConfigError(
        f"A constant has no other keys beside {CONST!r}: got {list(others)}."
    )


def missing_key(node: Any, key: Any) -> _errors.ConfigKeyError:
    names = [str(k) for k in node._fields if k not in (QUALNAME, CONST)]
    near = errors.did_you_mean(str(key), names)
    what = "The config"
    if QUALNAME in node._fields:
        what = f"`{node._fields[QUALNAME]}`"
    return _errors.ConfigKeyError(
        f"{what} has no field {key!r}.{near} Its fields: "
        f"{_errors.list_names(names) or '(none)'}."
    )


def unset_key(
    key: Any, field: config_dict.FieldReference
) -> _errors.RequiredValueError:
    expected = _reference.describe_type(field.get_type())
    return _errors.RequiredValueError(
        f"The required field {key!r} is not set{expected}. Set it in the config or on "
        f"the command line: `--cfg.{key}=...`."
    )


def can_merge(old: Any, new: Any) -> bool:
    if not isinstance(old, config_dict.ConfigDict):
        return False
    if not isinstance(new, Mapping | config_dict.ConfigDict):
        return False
    if CONST in old or CONST in new:
        return False
    return QUALNAME not in new or fields_of(old).get(QUALNAME) == new[QUALNAME]


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
    if _reference.is_required_unset(value):
        return ("required", value.get_type())
    try:
        return value.get()
    except _errors.ConfigError:  # no value: equal to itself only
        return repr(value)


def iter_nodes(value: Any) -> Iterator[Any]:
    """Yields every config node in a value once, parents first."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, config_dict.ConfigDict):
            if id(value) in seen:
                continue
            seen.add(id(value))
            yield value
            pending.extend(reversed(fields_of(value).values()))
        elif isinstance(value, list | tuple):
            pending.extend(reversed(value))
