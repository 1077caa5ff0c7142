"""Markdown tables of what is known of a run before its first step."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
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


_OF_A_RUN = (
    *("workdir", "seed", "num_train_steps", "model", "train_ds", "eval_ds"),
    *("train_losses", "train_metrics", "train_summaries", "evals", "schedules"),
    *("sharding", "precision", "grad_accum_steps", "checkpointer", "hooks"),
)


def overview(run: object) -> str:
    """Returns what a run is made of, a line for each of the fields that say something."""
    rows = []
    for name in _OF_A_RUN:
        value = getattr(run, name, None)
        told = _told(value)
        if told and not told.startswith("Noop"):
            rows.append((name, told))
    return "\n".join(
        [
            type(run).__name__,
            text_tables.aligned(rows),
            "`kd.inspect.show_trainer_info(trainer)` shows what is in it.",
        ]
    )


def _told(value: object) -> str:
    if value is None or isinstance(value, int | float | str | os.PathLike):
        return "" if value is None else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k} ({_told(v) or '-'})" for k, v in value.items())
    return getattr(value, "__name__", type(value).__name__)


def _shape(x: object) -> str:
    return text_tables.format_shape(getattr(x, "shape", ()))


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
