"""Markdown tables of what is known of a run before its first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kauldron import kontext
from kauldron._base import text_tables


def parameters(params: object) -> tuple[str, int]:
    """Returns a table of the parameters, and their total count."""
    flat = kontext.flatten_with_path(params)
    sizes = {path: math.prod(x.shape) for path, x in flat.items()}
    total = sum(sizes.values())
    rows = [(f"`{k}`", _shape(x), x.dtype, f"{sizes[k]:,}") for k, x in flat.items()]
    rows.append(("**total**", "", "", f"**{total:,}**"))
    return _table(("name", "shape", "dtype", "size"), rows), total


def shapes(tree: object) -> str:
    """Returns a table of the paths of a tree with their shapes and dtypes."""
    flat = kontext.flatten_with_path(tree)
    rows = [
        (f"`{path}`", _shape(x), getattr(x, "dtype", type(x).__name__))
        for path, x in flat.items()
    ]
    return _table(("key", "shape", "dtype"), rows)


def _shape(x: object) -> str:
    return text_tables.format_shape(getattr(x, "shape", ()))


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
