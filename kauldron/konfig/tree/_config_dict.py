"""`ConfigDict`: the tree of a config."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping, MutableMapping
from typing import Any, Self, cast

from ml_collections import config_dict

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _declarations, _qualname
from kauldron.konfig.tree import (
    _default_values,
    _json,
    _nodes,
    _placeholder,
    _reference,
    _values,
    _whole_config,
)

FieldReference = config_dict.FieldReference


class ConfigDict(_whole_config.WholeConfig):
    """A nested dict with attribute access that stands for Python objects.

    A node with the key `__qualname__` is a call that `konfig.resolve` makes; one with
    the key `__const__` is a Python object used as it is. Both are made by calling and
    naming what was imported inside `konfig.imports()`.

    Fields keep their type and order. Assigning the same node twice shares it. A value
    assigned from `cfg.ref` follows the field it refers to.

    A field is reached as `cfg.name` and as `cfg["name"]`. Of a name that is a method of
    dicts (`values`, `items`, `get`, `lock`, ...), `node.values` is the field in a call
    that has it, and the method in a plain dict, where it cannot be assigned to. An
    argument that a call got by position can be read and set by its name as well.

    Args:
      init_dict: Nested dicts, as written or as read from JSON.
      type_safe: Whether a field refuses values of another type than it has.

    Example:

    ```python
    from kauldron import konfig

    cfg = konfig.ConfigDict({"width": 64, "layers": [{"size": 1}]})
    cfg.hidden = cfg.ref.width * 4
    cfg.width = 32
    assert cfg.hidden == 128
    ```
    """

    def __init__(self, init_dict: Any = None, type_safe: bool = True, **kwargs: Any):
        if isinstance(init_dict, config_dict.FrozenConfigDict):
            init_dict = init_dict.as_configdict()
        state = self.__dict__
        state.update(_whole_config.BASE_STATE)
        state["_type_safe"] = type_safe
        state["_fields"] = {}
        state["_origin"] = _origin.current()
        state["_origins"] = None  # made when a field is set later
        if init_dict:
            init_dict = _json.restore_sharing(init_dict)
            _fill(self, init_dict, {id(init_dict): self})

    def __getitem__(self, key: Any) -> Any:
        if type(key) is not str:
            key = _nodes.to_key(self, key)
        try:
            field = self._fields[key]
        except KeyError:
            if (position := _position_of(self, key)) is None:
                raise _nodes.missing_key(self, key) from None
            field = self._fields[position]
        if isinstance(field, FieldReference):
            if _placeholder.is_required_unset(field):
                raise _nodes.unset_key(key, field)
            return field.get()
        return field

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("_fields", {})
        if name in fields or _position_of(self, name) is not None:
            return self[name]
        if name.startswith("__"):  # a protocol is asked for, not a field
            raise AttributeError(name)
        raise _errors.ConfigAttributeError(*_nodes.missing_key(self, name).args)

    def __contains__(self, key: Any) -> bool:
        if type(key) is str:
            return key in self._fields
        try:
            return _nodes.to_key(self, key) in self._fields
        except IndexError:
            return False

    def get(self, key: Any, default: Any = None) -> Any:
        """Returns the value of a field, or `default` if there is no such field."""
        if key in self:
            return self[key]
        return default

    @property
    def ref(self) -> Any:
        """The root of references: `cfg.b = cfg.ref.a * 2` follows changes of `a`."""
        return _reference.Reference(_reference.ROOT, (self,))

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(key) is not str:
            key = _nodes.to_key(self, key, for_writing=True)
        value = _values.convert(value, _make_node, {})
        fields = self._fields
        if key not in fields and (position := _position_of(self, key)):
            key = position
        if key in fields:
            fields[key] = _assign(self, key, fields[key], value)
        elif self._locked:
            raise _errors.ConfigKeyError(
                f"The config is locked, so that {key!r} cannot be added."
                + errors.did_you_mean(str(key), map(str, fields))
            )
        else:
            _nodes.check_special(fields, key)
            fields[key] = value
        origins = self.__dict__["_origins"]
        if origins is None:
            origins = self.__dict__["_origins"] = {}
        origins[key] = _origin.current()

    def __setattr__(self, name: str, value: Any) -> None:
        is_method = name in _METHODS and _qualname.QUALNAME not in self._fields
        if name in _RESERVED or is_method:
            what = "is a method of configs" if is_method else "is not a field"
            raise _errors.ConfigAttributeError(
                f"`cfg.{name}` {what}. For a field of that name, write "
                f"`cfg[{name!r}] = ...`."
            )
        self[name] = value

    def __delitem__(self, key: Any) -> None:
        key = _nodes.to_key(self, key)
        if self._locked:
            raise _errors.ConfigKeyError(
                f"The config is locked, so that {key!r} cannot be deleted."
            )
        if key not in self._fields:
            raise _nodes.missing_key(self, key)
        del self._fields[key]
        if self._origins:
            self._origins.pop(key, None)

    def __delattr__(self, name: str) -> None:
        if name not in self._fields:
            raise _errors.ConfigAttributeError(*_nodes.missing_key(self, name).args)
        del self[name]

    def pop(self, key: Any, *default: Any) -> Any:
        """Removes a field and returns its value, or the default."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Returns the value of a field, after setting it if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *other: Any, **kwargs: Any) -> None:
        """Sets fields from another mapping, inside nested dicts too.

        A call replaces a call of something else; the arguments of equal calls merge.
        """
        if len(other) > 1:
            raise TypeError(f"update() takes one mapping, got {len(other)}.")
        for mapping in (*other, kwargs):
            for key, value in _nodes.raw_items(mapping):
                old: Any = self._fields.get(_nodes.to_key(self, key, for_writing=True))
                if _nodes.can_merge(old, value):
                    if old is not value:
                        type(old).update(old, value)
                else:
                    self[key] = value

    def __or__(self, other: Any) -> Self:
        if not isinstance(other, Mapping | config_dict.ConfigDict):
            return NotImplemented
        merged = copy.deepcopy(self)
        type(merged).update(merged, other)
        return merged


# Stubs hide that it is an `ABCMeta`.
cast(abc.ABCMeta, MutableMapping).register(ConfigDict)

_RESERVED = frozenset(
    (
        "ref",
        "__class__",
        "__dict__",
        "allow_dotted_keys",
        "convert_dict",
        "is_locked",
        "is_type_safe",
    )
)


class _FieldOrMethod:
    """A method that gives way to a field of its name, in nodes that are calls.

    The argument `values` of a call is `cfg.loss.values`, although dicts have a method of
    that name. In plain dicts the methods win.
    """

    def __init__(self, name: str, method: Any):
        self.name = name
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, node: Any, owner: Any = None) -> Any:
        if node is not None:
            fields = node.__dict__.get("_fields", ())
            if self.name in fields and _qualname.QUALNAME in fields:
                return node[self.name]
        return self.method.__get__(node, owner)


_METHODS = frozenset(
    name
    for name in dir(ConfigDict)
    if not name.startswith("_") and name not in _RESERVED
)
for _name in _METHODS:
    setattr(ConfigDict, _name, _FieldOrMethod(_name, getattr(ConfigDict, _name)))


def _position_of(node: Any, name: Any) -> str | None:
    """Returns the key of an argument that a call got by position, given its name."""
    fields = node.__dict__.get("_fields", ())
    if "0" not in fields or _qualname.QUALNAME not in fields:
        return None
    # Loaded when an argument is first asked for so: most configs never do.
    from kauldron.konfig.tree import _call_targets

    return _call_targets.position_of(node, name)


def _make_node(value: Any, memo: dict[int, Any]) -> Any:
    """Returns the `ConfigDict` of a dict; a `ConfigDict` is shared, not copied."""
    if isinstance(value, ConfigDict):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if (
        _qualname.QUALNAME in value
        and value[_qualname.QUALNAME] == _nodes.REQUIRED_QUALNAME
    ):
        memo[id(value)] = required = _restore_required(value)
        return required
    node = ConfigDict()
    memo[id(value)] = node
    memo.setdefault(0, []).append(value)  # alive, so that its id stays its own
    _fill(node, value, memo)
    return node


def _restore_required(value: Any) -> _placeholder.Placeholder:
    import builtins

    const = (value.get("0") or {}).get(_qualname.CONST, "builtins:object")
    field_type = getattr(builtins, const.partition(":")[2], object)
    return _placeholder.Placeholder(None, field_type=field_type, required=True)


def _fill(node: ConfigDict, values: Any, memo: dict[int, Any]) -> None:
    fields = node._fields
    for key, value in _nodes.raw_items(values):
        fields[_nodes.to_key(node, key, for_writing=True)] = _values.convert(
            value, _make_node, memo
        )
    if isinstance(values, ConfigDict):
        node.__dict__["_type_safe"] = values._type_safe
        node.__dict__["_locked"] = values._locked
        node.__dict__["_origin"] = values._origin
        node.__dict__["_trust"] = values._trust
        return
    qualname = fields.get(_qualname.QUALNAME)
    if qualname is not None:
        if _qualname.CONST in fields:
            raise _nodes.both_special()
        _default_values.fill_in(node, qualname)
    elif _qualname.CONST in fields:
        if len(fields) > 1:
            raise _nodes.const_with_others([k for k in fields if k != _qualname.CONST])
        _declarations.meet(fields[_qualname.CONST])


def _assign(node: ConfigDict, key: Any, old: Any, value: Any) -> Any:
    if isinstance(old, FieldReference):
        if not node._type_safe and not isinstance(value, FieldReference):
            return value
        return _values.set_through(str(key), old, value)
    return _values.cast(str(key), old, value) if node._type_safe else value


def as_config(value: Any) -> Any:
    """Returns nested dicts and lists as config nodes."""
    if isinstance(value, ConfigDict):
        return value
    return ConfigDict({"value": value})["value"]
