"""A picture of which device holds which block of the arrays of a state."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence

from kauldron._base import svg
from kauldron._base.svg import Point, Size
from kauldron.inspect import _svg
from kauldron.inspect._placements import Placement

_MAX_CELLS = 16
_MAX_PATHS = 4
_CELL_HEIGHT = 26.0
_GAP = 26.0


def draw(
    placements: Sequence[Placement], num_devices: int, mesh: Mapping[str, int]
) -> _svg.Picture:
    """Returns a picture with a grid of blocks for each way of placing arrays.

    A block has a color of its own, and the numbers of the devices that hold it.
    """
    axes = ", ".join(f"{name}={size}" for name, size in mesh.items())
    title = f"{_svg.plural(num_devices, 'device')}{f': {axes}' if axes else ''}"
    parts = [svg.text(Point(0, 14), svg.Line(title, bold=True))]
    top, width = 40.0, svg.width_of(title)
    for placement in placements:
        drawn, size = _panel(placement, Point(0, top))
        parts.append(drawn)
        top += size.height + _GAP
        width = max(width, size.width)
    size = Size(width, top - _GAP)
    return _svg.Picture(svg.document(parts, size, title="Which device holds what"))


def _panel(placement: Placement, corner: Point) -> tuple[str, Size]:
    """Returns the drawing of a placement, and its size."""
    parts = [
        svg.text(Point(corner.x, corner.y + 12), svg.Line(placement.title)),
        svg.text(
            Point(corner.x, corner.y + 12 + svg.LINE),
            svg.Line(_paths(placement), color=svg.GREY),
        ),
    ]
    rows = placement.rows(_MAX_CELLS)
    cell = max(svg.width_of(text) for row in rows for text in row) + 16
    cell = max(cell, 34.0)
    top = corner.y + 2 * svg.LINE + 8
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            at = Point(corner.x + j * cell, top + i * _CELL_HEIGHT)
            style = svg.Style(
                fill=_color(i * len(row) + j, len(rows) * len(row)), radius=0.0
            )
            box = Size(cell, _CELL_HEIGHT)
            parts.append(svg.box(at, box, [svg.Line(text)], style))
    texts = (placement.title, _paths(placement))
    width = max(cell * len(rows[0]), *map(svg.width_of, texts))
    return "".join(parts), Size(width, top - corner.y + len(rows) * _CELL_HEIGHT)


def _paths(placement: Placement) -> str:
    shown = ", ".join(placement.paths[:_MAX_PATHS])
    rest = len(placement.paths) - _MAX_PATHS
    return f"{shown} and {rest} more" if rest > 0 else shown


def _color(number: int, count: int) -> str:
    """Returns one of `count` light colors; white for a single one."""
    if count == 1:
        return "#f1f3f4"
    # Neighbours differ much: steps of the golden section around the circle of hues.
    hue = math.fmod(number * 0.618034, 1.0)
    red, green, blue = colorsys.hls_to_rgb(hue, 0.86, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
