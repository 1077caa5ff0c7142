"""Values that strict JSON can hold: NaN and infinities become texts."""

from __future__ import annotations

import math
from typing import Any


def finite(node: Any) -> Any:
    """Returns a tree of dicts and lists in which `nan`, `inf` and `-inf` are texts."""
    if isinstance(node, dict):
        return {key: finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [finite(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return str(node)
    return node
