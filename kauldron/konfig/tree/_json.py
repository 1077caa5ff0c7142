"""JSON form of configs, which keeps the identity of shared nodes.

A node that occurs more than once has an `__id__`. Its first occurrence holds its fields;
the others hold the `__id__` alone, so that the size stays linear and cycles are possible.
Files in which every occurrence holds all the fields are read too.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ml_collections import config_dict

from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _field_names, _nodes, _reference, _walk

ID = "__id__"
RAW = "__raw__="


def dumps(cfg: Any, **kwargs: Any) -> str:
    """Returns the JSON text of a config; see `ConfigDict.to_json`."""
    return json.dumps(to_plain(cfg, keep_unknown=bool(kwargs.get("cls"))), **kwargs)


def to_plain(cfg: Any, *, keep_unknown: bool = False) -> Any:
    """Returns a config as dicts, lists and scalars, as its JSON has them.

    Raises:
      ConfigTypeError: A `TypeError`: a value or key that JSON cannot hold.
    """
    return _Encoder(cfg, keep_unknown=keep_unknown).encode(cfg, ())


class _Encoder:
    def __init__(self, cfg: Any, *, keep_unknown: bool):
        self.numbers = _walk.find_shared(cfg)
        self.ids: dict[int, int] = {}  # numbered in the order of the text
        self.keep_unknown = keep_unknown

    def encode(self, value: Any, path: tuple[Any, ...]) -> Any:
        value = _nodes.peek(value)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, config_dict.ConfigDict):
            return self.encode_node(value, path)
        if isinstance(value, dict):
            return self.encode_dict(dict(value.items()), path)
        if isinstance(value, list | tuple):
            return [self.encode(v, (*path, i)) for i, v in enumerate(value)]
        if isinstance(value, set | frozenset):
            return sorted(value, key=lambda v: (type(v).__name__, v))
        if isinstance(value, _reference.FieldReference):
            return _encode_without_value(value)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if hasattr(type(value), "__as_konfig__"):
            return self.encode(value.__as_konfig__(), path)
        if self.keep_unknown:
            return value
        raise _errors.ConfigTypeError(
            f"{_field(path)} cannot be written as JSON: {_errors.short(value)} is of "
            f"type {type(value).__name__}. JSON has numbers, strings, lists, dicts."
        )

    def encode_node(self, node: Any, path: tuple[Any, ...]) -> Any:
        if id(node) not in self.numbers:
            return self.encode_dict(node._fields, path)
        if id(node) in self.ids:
            return {ID: self.ids[id(node)]}
        number = self.ids[id(node)] = len(self.ids)
        return {**self.encode_dict(node._fields, path), ID: number}

    def encode_dict(self, fields: dict[Any, Any], path: tuple[Any, ...]) -> Any:
        return {
            _encode_key(key, path): self.encode(value, (*path, key))
            for key, value in fields.items()
        }


def _encode_key(key: Any, path: tuple[Any, ...]) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool | int | float):
        return f"{RAW}{key!r}"
    raise _errors.ConfigTypeError(
        f"The key {key!r} of {_field(path)} cannot be written as JSON: it is of type "
        f"{type(key).__name__}. Use a string."
    )


def _encode_without_value(value: _reference.FieldReference) -> Any:
    """Encodes a required value that is not set, or an expression of one.

    Raises:
      ConfigError: If it is a reference that is broken for another reason.
    """
    with contextlib.suppress(_errors.RequiredValueError):
        value.get()
    node: dict[str, Any] = {_qualname.QUALNAME: _nodes.REQUIRED_QUALNAME}
    field_type = value.get_type()
    if field_type is not object:
        node["0"] = {
            _qualname.CONST: f"{field_type.__module__}:{field_type.__qualname__}"
        }
    return node


def _field(path: tuple[Any, ...]) -> str:
    return f"`{_field_names.field_name(path)}`" if path else "The config"


def restore_sharing(value: Any) -> Any:
    """Returns nested dicts in which equal `__id__`s are one object, keys decoded.

    What holds neither is returned as it is, the same object.
    """
    if not _has_marks(value, set()):
        return value
    contents: dict[Any, dict] = {}
    _collect(value, contents)
    return _Decoder(contents).decode(value)


def _has_marks(value: Any, seen: set[int]) -> bool:
    if isinstance(value, dict) and not _nodes.is_stand_in(value):
        if id(value) in seen:
            return False
        seen.add(id(value))
        if ID in value:
            return True
        if any(type(key) is str and key.startswith(RAW) for key in value):
            return True
        return any(_has_marks(v, seen) for v in value.values())
    if type(value) in (list, tuple):
        return any(_has_marks(v, seen) for v in value)
    return False


def _collect(value: Any, contents: dict[Any, dict]) -> None:
    """Finds, for every id, the occurrence that holds the fields."""
    if isinstance(value, dict):
        if ID in value and len(value) >= len(contents.get(value[ID], {})):
            contents.setdefault(value[ID], value)
            if len(value) > len(contents[value[ID]]):
                contents[value[ID]] = value
        for child in value.values():
            _collect(child, contents)
    elif isinstance(value, list | tuple):
        for child in value:
            _collect(child, contents)


class _Decoder:
    def __init__(self, contents: dict[Any, dict]):
        self.contents = contents
        self.made: dict[Any, dict] = {}

    def decode(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(self.decode(v) for v in value)
        if not isinstance(value, Mapping) or _nodes.is_stand_in(value):
            return value
        number = value.get(ID)
        if number in self.made:
            return self.made[number]
        decoded: dict[Any, Any] = {}
        if number is not None:
            self.made[number] = decoded
            value = self.contents[number]
        for key, child in value.items():
            if key != ID:
                decoded[_decode_key(key)] = self.decode(child)
        return decoded


def _decode_key(key: Any) -> Any:
    if not isinstance(key, str) or not key.startswith(RAW):
        return key
    text = key[len(RAW) :]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return float(text)  # `nan`, `inf`
