"""Draws who imports whom, from the source: `python -m tests.draw_layers`.

Writes `docs/layers.svg`. A row is a layer of the contract in `pyproject.toml`; a line is
an import of the room below, unless there is a way through rooms in between. Nearly all
rooms use `_base`: no line says so.
"""

from __future__ import annotations

import html
import tomllib
from collections.abc import Mapping

from tests import import_graph

PICTURE = import_graph.ROOT / "docs" / "layers.svg"
_LEFT_OUT = ("kauldron._konfig_package",)
_GROUND = "kauldron._base"
_ROW, _BOX, _GAP, _WIDTH, _TOP = 54, 30, 22, 760, 16
_COLORS = ("#e8f0fe", "#e6f4ea", "#fef7e0", "#fce8e6", "#f3e8fd")


def layers() -> list[list[str]]:
    """Returns the rooms of each layer, top first."""
    text = (import_graph.ROOT / "pyproject.toml").read_text()
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c["containers"] == ["kauldron"]]
    rows = [row.replace(":", "|").split("|") for row in contract["layers"]]
    named = [[f"kauldron.{room.strip()}" for room in row] for row in rows]
    kept = [[room for room in row if room not in _LEFT_OUT] for row in named]
    return [row for row in kept if row]


def reduced(graph: Mapping[str, frozenset[str]]) -> dict[str, set[str]]:
    """Returns a graph without the edges that a longer way stands for."""

    def below(room: str) -> set[str]:
        found: set[str] = set()
        waiting = [room]
        while waiting:
            for target in graph.get(waiting.pop(), ()):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    return {
        room: {t for t in to if not any(t in below(other) for other in to - {t})}
        for room, to in graph.items()
    }


def draw() -> str:
    """Returns the picture as SVG."""
    rows = layers()
    rooms = import_graph.rooms(import_graph.read("kauldron"))
    shown = {room for row in rows for room in row}
    graph = {r: frozenset(to & shown) for r, to in rooms.items() if r in shown}
    centers = _centers(rows)
    height = _TOP * 2 + _ROW * len(rows) - (_ROW - _BOX)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">',
        "<style>@media (prefers-color-scheme: dark)"
        "{svg>*{filter:invert(.89) hue-rotate(180deg)}}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
    ]
    for room, targets in sorted(reduced(graph).items()):
        for target in sorted(targets):
            if target != _GROUND:
                parts.append(_line(centers[room], centers[target]))
    for number, row in enumerate(rows):
        color = _COLORS[number % len(_COLORS)]
        parts += [_box(room, centers[room], color) for room in row]
    return "\n".join([*parts, "</svg>", ""])


def _label(room: str) -> str:
    return room.removeprefix("kauldron.")


def _box_width(room: str) -> int:
    return 24 + 9 * len(_label(room))


def _centers(rows: list[list[str]]) -> dict[str, tuple[int, int]]:
    centers = {}
    for number, row in enumerate(rows):
        total = sum(map(_box_width, row)) + _GAP * (len(row) - 1)
        # Every other row stands aside, so that lines pass between the boxes.
        x = (_WIDTH - total) // 2 + (0 if len(row) > 1 else 150 * (number % 3 - 1))
        for room in row:
            centers[room] = (x + _box_width(room) // 2, _TOP + _ROW * number)
            x += _box_width(room) + _GAP
    return centers


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x, y), (u, v) = start, end
    y += _BOX
    bend = (v - y) // 2
    path = f"M{x} {y} C{x} {y + bend} {u} {v - bend} {u} {v}"
    return f'<path d="{path}" fill="none" stroke="#9aa0a6" stroke-width="1.2"/>'


def _box(room: str, center: tuple[int, int], color: str) -> str:
    x, y = center
    width = _box_width(room)
    return (
        f'<rect x="{x - width // 2}" y="{y}" width="{width}" height="{_BOX}" rx="6" '
        f'fill="{color}" stroke="#5f6368"/>'
        f'<text x="{x}" y="{y + 20}" text-anchor="middle">'
        f"{html.escape(_label(room))}</text>"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
    print(f"Drawn: {PICTURE.relative_to(import_graph.ROOT)}")
