"""Field names as the user writes them, `cfg.a[0].b`, and where they were written."""

from __future__ import annotations

from typing import Any

from ml_collections import config_dict

from kauldron import kontext
from kauldron.konfig.names import _qualname

Path = tuple[Any, ...]


def field_name(path: Path) -> str:
    """Returns a path as the user writes it: `cfg.a[0].b`."""
    text = str(kontext.Path(*path))
    return f"cfg.{text}" if text and not text.startswith("[") else f"cfg{text}"


def part_of(node: Any, key: Any) -> Any:
    """Returns a key as a part of a path: that of a positional argument is a number."""
    is_position = isinstance(key, str) and key.isdigit()
    return int(key) if is_position and _qualname.QUALNAME in node else key


def origin_of(node: Any, key: Any = None) -> str:
    """Returns where a node, or a field of it, was written; empty if not known."""
    if not isinstance(node, config_dict.ConfigDict):
        return ""
    state = node.__dict__
    origin = (state["_origins"] or {}).get(key) or state["_origin"]
    return str(origin) if origin else ""
