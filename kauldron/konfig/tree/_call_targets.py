"""What the calls of a config accept: names and annotations of their arguments."""

from __future__ import annotations

from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.building import _check
from kauldron.konfig.names import _qualname, _signature
from kauldron.konfig.tree import _nodes, _printing, _values
from kauldron.konfig.writing import _proxy


def find_key(node: Any, part: Any) -> Any:
    """Returns the key under which a node holds what the user calls `part`.

    An argument that was given by position is found by its name too.
    """
    if part in node or not isinstance(part, str) or _proxy.QUALNAME not in node:
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
    if _proxy.QUALNAME not in node:
        return None
    target = _qualname.import_named_in(node, node[_proxy.QUALNAME])
    if node[_proxy.QUALNAME] == "functools:partial" and "0" in node:
        wrapped = _printing.peek(node._fields["0"])
        if not _values.is_call_or_const(wrapped) or _proxy.CONST not in wrapped:
            return None
        target = _qualname.import_named_in(wrapped, wrapped[_proxy.CONST])
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
    origin = _check.origin_of(node)
    return f"\n  The call was written at {origin}." if origin else ""
