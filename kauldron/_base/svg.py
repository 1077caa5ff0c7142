"""Pictures as SVG text: boxes with lines of text, arrows, curves, and what holds them."""

from __future__ import annotations

import dataclasses
import html
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FONT = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
TEXT = 12.0
# Of these fonts, none is wider than 0.61 of its height.
_ADVANCE = 0.61
LINE = 17.0
_PAD = 10.0
INK, GREY, EDGE = "#202124", "#5f6368", "#80868b"


class Size(NamedTuple):
    """Width and height of a box."""

    width: float
    height: float


class Point(NamedTuple):
    """A position; y goes downwards."""

    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text in a box."""

    text: str
    color: str = INK
    bold: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """How a box looks."""

    fill: str = "#ffffff"
    stroke: str = EDGE
    radius: float = 5.0
    dashed: bool = False
    stripe: str | None = None


def width_of(text: str) -> float:
    """Returns how wide a text may be, at most."""
    return len(text) * TEXT * _ADVANCE


def size_of(lines: Sequence[Line]) -> Size:
    """Returns the size of a box that holds lines of text."""
    widest = max((width_of(line.text) for line in lines), default=0.0)
    return Size(widest + 2 * _PAD, LINE * len(lines) + _PAD)


def box(corner: Point, size: Size, lines: Sequence[Line], style: Style) -> str:
    """Returns a box with its lines, in the middle."""
    (x, y), (width, height) = corner, size
    dash = ' stroke-dasharray="5 3"' if style.dashed else ""
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{style.radius}" fill="{style.fill}" stroke="{style.stroke}"{dash}/>'
    ]
    if style.stripe:
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{y + 4:.1f}" width="5" height="{height - 8:.1f}" '
            f'rx="2" fill="{style.stripe}"/>'
        )
    for i, line in enumerate(lines):
        middle = Point(x + width / 2, y + _PAD / 2 + LINE * i + 12.5)
        parts.append(text(middle, line, anchor="middle"))
    return "".join(parts)


def text(at: Point, line: Line, *, anchor: str = "start") -> str:
    """Returns a line of text; `at` is on its base line."""
    bold = ' font-weight="bold"' if line.bold else ""
    return (
        f'<text x="{at.x:.1f}" y="{at.y:.1f}" text-anchor="{anchor}" '
        f'fill="{line.color}"{bold} xml:space="preserve">'
        f"{html.escape(line.text)}</text>"
    )


def arrow(points: Sequence[Point], *, dashed: bool = False) -> str:
    """Returns an arrow: straight within each pair of points, smooth between the pairs."""
    path = f"M{points[0].x:.1f} {points[0].y:.1f}"
    for i, (a, b) in enumerate(itertools.pairwise(points)):
        if i % 2 == 0 and i < len(points) - 2:
            path += f"L{b.x:.1f} {b.y:.1f}"
        else:
            bend = (b.y - a.y) / 2
            path += (
                f"C{a.x:.1f} {a.y + bend:.1f} {b.x:.1f} {b.y - bend:.1f} "
                f"{b.x:.1f} {b.y:.1f}"
            )
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="{EDGE}" stroke-width="1.3"{dash} '
        'marker-end="url(#arrow)"/>'
    )


def document(
    parts: Iterable[str], size: Size, *, title: str, margin: float = 18
) -> str:
    """Returns the document, on a white ground."""
    width, height = size.width + 2 * margin, size.height + 2 * margin
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
            f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'font-family="{FONT}" font-size="{TEXT:.0f}">',
            f"<title>{html.escape(title)}</title>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{EDGE}"/></marker></defs>',
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#ffffff"/>',
            f'<g transform="translate({margin:.0f} {margin:.0f})">',
            *parts,
            "</g>",
            "</svg>",
            "",
        ]
    )
