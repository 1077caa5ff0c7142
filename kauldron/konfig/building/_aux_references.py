"""Unused values of `cfg.aux`: those that nothing refers to."""

from __future__ import annotations

from typing import Any

from kauldron.konfig.tree import _config_dict, _reference, _walk

AUX = "aux"


def find(cfg: Any) -> list[tuple[Any, ...]]:
    """Returns the paths of the values in `cfg.aux` that no reference mentions."""
    aux = cfg._fields.get(AUX) if isinstance(cfg, _config_dict.ConfigDict) else None
    if not isinstance(aux, _config_dict.ConfigDict):
        return []
    finder = _Finder(cfg)
    for node in _walk.iter_nodes(cfg):
        for value in node._fields.values():
            finder.look_at(value)
    if finder.is_used_as_a_whole:
        return []
    return [(AUX, key) for key in aux._fields if key not in finder.used]


class _Finder:
    """Collects which keys of `aux` references mention."""

    def __init__(self, cfg: Any):
        self.cfg = cfg
        self.used: set[Any] = set()
        self.is_used_as_a_whole = False

    def look_at(self, value: Any) -> None:
        if isinstance(value, list | tuple):
            for item in value:
                self.look_at(item)
        elif isinstance(value, dict):
            for item in value.values():
                self.look_at(item)
        elif isinstance(value, _reference.Reference):
            self.look_at_reference(value)

    def look_at_reference(self, ref: _reference.Reference) -> None:
        kind, args = _reference.parts_of(ref)
        if kind == _reference.ROOT:
            return
        if self.is_aux(ref):
            self.is_used_as_a_whole = True
        elif kind in (_reference.ATTR, _reference.ITEM) and self.is_aux(args[0]):
            if isinstance(args[1], _reference.Reference):  # a computed key
                self.is_used_as_a_whole = True
            else:
                self.used.add(args[1])
        else:
            for arg in args:
                self.look_at(arg)

    def is_aux(self, value: Any) -> bool:
        if not isinstance(value, _reference.Reference):
            return False
        kind, args = _reference.parts_of(value)
        if kind not in (_reference.ATTR, _reference.ITEM):
            return False
        if isinstance(args[1], _reference.Reference) or args[1] != AUX:
            return False
        base_kind, base_args = _reference.parts_of(args[0])
        return base_kind == _reference.ROOT and base_args[0] is self.cfg
