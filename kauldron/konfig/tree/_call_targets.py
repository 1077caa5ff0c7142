"""Argument names and annotations of the callables in a config."""

from __future__ import annotations

from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.names import _named_objects, _qualname, _signature
from kauldron.konfig.tree import _field_names, _nodes, _values


def find_key(node: Any, part: Any) -> Any:
    """Returns the key under which a node holds what the user calls `part`.

    An argument that was given by position is found by its name too.
    """
    if part in node or not isinstance(part, str) or _qualname.QUALNAME not in node:
        return _nodes.to_key(node, part)
    num_args = _nodes.num_positional(node)
    if num_args and (signature := signature_of(node)) is not None:
        positional = signature.positional[:num_args]
        if part in positional:
            return str(positional.index(part))
    return part


def signature_of(node: Any) -> _signature.Signature | None:
    """Returns what a call node calls accepts; `None` if that cannot be known.

    Raises:
      ConfigImportError: If what it calls cannot be imported.
      UntrustedError: If the config may not name it.
    """
    qualname = node._fields.get(_qualname.QUALNAME)
    if qualname is None:
        return None
    target = import_named_in(node, qualname)
    if qualname == "functools:partial" and is_partial_of_something(node):
        wrapped = _nodes.peek(node._fields["0"])
        if not _values.is_call_or_const(wrapped) or _qualname.CONST not in wrapped:
            return None
        target = import_named_in(wrapped, wrapped[_qualname.CONST])
        signature = _signature.get(target)
        return None if signature is None else _signature.shifted(signature)
    return _signature.get(target)


def annotation_of(node: Any, key: Any) -> Any:
    """Returns the annotation of an argument; `None` if there is none."""
    try:
        signature = signature_of(node)
    except _errors.ConfigImportError:  # `resolve` says so
        return None
    if signature is None:
        return None
    if isinstance(key, str) and key.isdigit():
        index = int(key)
        if index >= len(signature.positional):
            return None
        key = signature.positional[index]
    return signature.types.get(key)


def written_at(node: Any) -> str:
    """Returns a line on where a call was written; empty if that is not known."""
    origin = _field_names.origin_of(node)
    return f"\n  The call was written at {origin}." if origin else ""


def position_of(node: Any, name: Any) -> str | None:
    """Returns the key of an argument that a call got by position, given its name.

    What is called is imported to know the names; so this is for names that the node does
    not hold. `None` if there is no such argument, or it cannot be known.
    """
    if type(name) is not str or not name.isidentifier() or name.startswith("_"):
        return None
    try:
        key = find_key(node, name)
    except Exception:  # what is called cannot be imported here; `resolve` says why
        return None
    return key if key != name else None


def import_named_in(node: Any, qualname: Any) -> Any:
    """Returns the object of a name that a node holds.

    Raises:
      ConfigImportError: If there is no such object.
      UntrustedError: If the config is from elsewhere, and may not name it.
    """
    policy = getattr(node, "_trust", None)
    if policy is None:
        return _named_objects.import_object(str(qualname))
    return policy.import_object(str(qualname))


def is_partial_of_something(node: Any) -> bool:
    """Returns whether a call is `functools.partial` with a function."""
    fields = node._fields
    return "0" in fields and fields[_qualname.QUALNAME] == "functools:partial"
