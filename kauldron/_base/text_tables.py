"""Tables for terminals: aligned columns, sizes in bytes."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Returns rows as lines in which the columns stand below each other.

    Args:
      rows: Equally many cells each.
      right: Numbers of the columns whose cells end below each other, as of numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def format_bytes(num_bytes: float) -> str:
    """Returns a human-readable size, such as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} B" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def format_shape(shape: Sequence[int]) -> str:
    """Returns `3 x 4`, or `scalar`."""
    return " x ".join(map(str, shape)) or "scalar"
