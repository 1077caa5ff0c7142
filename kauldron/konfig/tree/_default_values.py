"""Registered default values of call nodes, by the name of the callable."""

from __future__ import annotations

import copy
import threading
from typing import Any

from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _declarations, _qualname
from kauldron.konfig.tree import _nodes, _walk

_registered: dict[str, Any] = {}


def register_default_values(cfg_node: Any) -> None:
    """Sets the values that every new node of the same `__qualname__` starts with.

    Args:
      cfg_node: A call, such as `kd.train.Trainer(evals={})` made inside
        `konfig.imports()`.

    Raises:
      ConfigError: A `ValueError`: `cfg_node` is not a call, or other defaults are
        registered for it already.
    """
    qualname = _nodes.fields_of(cfg_node).get(_qualname.QUALNAME)
    if qualname is None:
        raise _errors.ConfigError(
            f"Default values are for calls, got {_errors.short(cfg_node)}: it has no "
            f"{_qualname.QUALNAME!r}."
        )
    known = _registered.get(qualname)
    if known is not None and known != cfg_node:
        raise _errors.ConfigError(
            f"Other default values are registered for {qualname!r} already: {known!r}, "
            f"now {cfg_node!r}."
        )
    _registered[qualname] = copy.deepcopy(cfg_node)


def get(node: Any) -> dict[str, Any]:
    """Returns the registered fields of what a node calls, references kept."""
    qualname = node._fields.get(_qualname.QUALNAME)
    if qualname is None:
        return {}
    if node._trust is None:
        _register_declared(qualname)
    else:
        with _declarations.only_trusted(node._trust.trusted):
            _register_declared(qualname)
    registered = _registered.get(qualname)
    if registered is None:
        return {}
    return {k: v for k, v in registered._fields.items() if k != _qualname.QUALNAME}


def fill_in(node: Any, qualname: str) -> None:
    """Adds the registered values that a new node does not have."""
    _register_declared(qualname)
    defaults = _registered.get(qualname)
    if defaults is None:
        return
    fields = node._fields
    if all(key in fields for key in defaults._fields):
        return
    copied = copy.deepcopy(defaults)
    here = _origin.current()
    for key, value in copied._fields.items():
        if key not in fields:
            fields[key] = value
            for below in _walk.iter_nodes(value):
                below.__dict__["_origin"] = here


# Packages whose declared values are registered, or being registered.
_known_packages: set[str] = set()
_lock = threading.RLock()


def _register_declared(qualname: Any) -> None:
    """Registers the values that the package of a name declares, once."""
    declaration = _declarations.meet(qualname)
    if declaration is None or declaration.default_values is None:
        return
    package = qualname.partition(":")[0].partition(".")[0]
    if package in _known_packages:
        return
    with _lock:
        if package in _known_packages:
            return
        _known_packages.add(package)  # the values name the package
        try:
            for node in declaration.default_values():
                _check_is_of(node, package)
                register_default_values(node)
        except Exception as error:
            _known_packages.discard(package)
            reason = f"`default_values()`: {type(error).__name__}: {error}"
            raise _declarations.malformed(package, reason) from error


def _check_is_of(node: Any, package: str) -> None:
    fields = getattr(node, "_fields", None)
    qualname = fields.get(_qualname.QUALNAME) if isinstance(fields, dict) else None
    if not isinstance(qualname, str) or not _origin.is_within(
        qualname.partition(":")[0], (package,)
    ):
        raise _errors.ConfigTypeError(
            f"it must yield calls of what is in `{package}`, made inside "
            f"`konfig.imports()`, got {_errors.short(node)}."
        )
