"""Whole-config operations: comparing, printing, saving, copying, locking."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Self

from ml_collections import config_dict

from kauldron.konfig.tree import _json, _nodes, _printer, _walk

# What `ml_collections.ConfigDict` keeps beside the fields.
BASE_STATE = {
    "_locked": False,
    "_type_safe": True,
    "_convert_dict": True,
    "_allow_dotted_keys": True,
    "_sort_keys": False,
    "_trust": None,  # of a config from elsewhere, what it may name
}
_ATOMS = frozenset((int, float, bool, str, bytes))


class WholeConfig(config_dict.ConfigDict):
    """A node, apart from the access to its fields."""

    # Kept in `__dict__`; `__getattr__` is for fields.
    _fields: dict[Any, Any]
    _origins: dict[Any, Any] | None
    _type_safe: bool

    def lock(self) -> Self:
        """Refuses new fields, here and below; returns the config."""
        for node in _walk.iter_nodes(self):
            node.__dict__["_locked"] = True
        return self

    def unlock(self) -> Self:
        """Allows new fields again, here and below; returns the config."""
        for node in _walk.iter_nodes(self):
            node.__dict__["_locked"] = False
        return self

    @contextlib.contextmanager
    def ignore_type(self) -> Iterator[Self]:
        """Within the block, fields of this config and below take any type."""
        nodes = [node for node in _walk.iter_nodes(self) if node._type_safe]
        for node in nodes:
            node.__dict__["_type_safe"] = False
        try:
            yield self
        finally:
            for node in nodes:
                node.__dict__["_type_safe"] = True

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, config_dict.ConfigDict):
            return NotImplemented
        return _nodes.equal(self, other, set())

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<ConfigDict[{_printer.to_text(self)}]>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return _printer.to_html(self)

    def __dir__(self) -> list[str]:
        names = (k for k in self._fields if isinstance(k, str) and k.isidentifier())
        return sorted({*names, *object.__dir__(self)})

    def to_json(self, json_encoder_cls: Any = None, **kwargs: Any) -> str:
        """Returns the config as JSON.

        Shared nodes are marked, so that `ConfigDict(json.loads(text))` shares them
        again. References become their values, tuples and sets become lists.

        Args:
          json_encoder_cls: Encoder for values that JSON does not know.
          **kwargs: Given to `json.dumps`.

        Raises:
          TypeError: For values and keys that JSON cannot hold; names the field.
        """
        if json_encoder_cls is not None:
            kwargs["cls"] = json_encoder_cls
        return _json.dumps(self, **kwargs)

    def __copy__(self) -> Self:
        new = _blank(self)
        new.__dict__["_fields"] = dict(self._fields)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = _blank(self)
        memo[id(self)] = new
        fields = new.__dict__["_fields"]
        for key, value in self._fields.items():
            is_atom = value is None or type(value) in _ATOMS
            fields[key] = value if is_atom else copy.deepcopy(value, memo)
        return new

    def __reduce__(self) -> Any:
        names = ("_fields", "_locked", "_type_safe", "_trust")
        return type(self), (), {name: self.__dict__[name] for name in names}

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(BASE_STATE)
        self.__dict__.update(state)
        self.__dict__["_origin"] = self.__dict__["_origins"] = None


def _blank(cfg: WholeConfig) -> Any:
    """Returns a node like `cfg` without fields."""
    new = object.__new__(type(cfg))
    new.__dict__.update(cfg.__dict__)
    new.__dict__["_fields"] = {}
    new.__dict__["_origins"] = dict(cfg._origins) if cfg._origins else None
    return new
