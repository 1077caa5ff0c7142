"""Values that a call node has from the start, by the name of what it calls."""

from __future__ import annotations

import copy
from typing import Any

from kauldron.konfig import _errors, _origin
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _nodes, _walk

_registered: dict[str, Any] = {}


def register_default_values(cfg_node: Any) -> None:
    """Sets the values that every new node of the same `__qualname__` starts with.

    Args:
      cfg_node: A call, such as `kd.train.Trainer(evals={})` made inside
        `konfig.imports()`.

    Raises:
      ConfigError: A `ValueError`: `cfg_node` is no call, or other defaults are
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


def get(qualname: Any) -> dict[str, Any]:
    """Returns the registered fields of a call, references kept; empty if there are none."""
    registered = _registered.get(qualname)
    if registered is None:
        return {}
    return {k: v for k, v in registered._fields.items() if k != _qualname.QUALNAME}


def fill_in(node: Any, qualname: str) -> None:
    """Adds the registered values that a new node does not have."""
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
