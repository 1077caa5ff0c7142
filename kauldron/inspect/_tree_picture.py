"""The picture of any Flax model: its modules as they are called, with shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from kauldron._base import svg
from kauldron._base.svg import Line, Point, Size, Style
from kauldron.inspect import _model_trace, _svg

_ROW, _BOX, _INDENT, _GAP = 34.0, 24.0, 26.0, 28.0
_LEAF = Style(fill="#e8f0fe", stroke="#4285f4")
_PARENT = Style(fill="#f8f9fa", stroke="#80868b")
_END = Style(fill="#e6f4ea", stroke="#34a853", radius=12)


class _Row(NamedTuple):
    """A call, or an input.

    Attributes:
      depth: How far it is indented.
      name: Name of the module, or of the input.
      kind: Its class.
      flow: Shapes that go in and come out.
      params: How many parameters, in words.
      style: Of its box.
    """

    depth: int
    name: str
    kind: str
    flow: str
    params: str
    style: Style

    @property
    def width(self) -> float:
        """Of its box."""
        text = f"{self.name}  {self.kind}" if self.kind else self.name
        return svg.width_of(text) + 20


def draw(trace: _model_trace.Trace) -> _svg.Picture:
    """Returns the picture of a model that was traced."""
    rows = [
        _Row(0, name, "", ", ".join(_svg.to_lines("", spec)), "", _END)
        for name, spec in trace.inputs.items()
    ]
    rows += _call_rows(trace)
    title = f"{trace.calls[0].kind}, {_svg.plural(trace.num_params(), 'parameter')}"
    flow_x = max(row.depth * _INDENT + row.width for row in rows) + _GAP
    params_x = flow_x + max(svg.width_of(row.flow) for row in rows) + _GAP
    right = params_x + max(svg.width_of(row.params) for row in rows)
    parts = _lines(rows)
    for number, row in enumerate(rows):
        y = number * _ROW
        parts.append(_row_box(row, y))
        parts.append(svg.text(Point(flow_x, y + 16), Line(row.flow)))
        if row.params:
            parts.append(svg.text(Point(params_x, y + 16), Line(row.params, svg.GREY)))
    height = _ROW * len(rows)
    parts.append(svg.text(Point(0, height + 16), Line(title, svg.GREY)))
    size = Size(max(right, svg.width_of(title)), height + 20)
    return _svg.Picture(svg.document(parts, size, title=title))


def _call_rows(trace: _model_trace.Trace) -> list[_Row]:
    rows = []
    seen: set[tuple[str, ...]] = set()
    parents = {call.path[:-1] for call in trace.calls if call.path}
    for call in trace.calls:
        count = trace.num_params(call.path)
        if call.path in seen:
            params = "the same parameters" if count else "again"
        else:
            params = _svg.plural(count, "parameter") if count else ""
        seen.add(call.path)
        name = ".".join(call.path[-1:]) or "model"
        style = _PARENT if call.path in parents or not call.path else _LEAF
        rows.append(_Row(call.depth, name, call.kind, _flow(call), params, style))
    return rows


def _flow(call: _model_trace.Call) -> str:
    return f"{_shapes(call.inputs)} → {_shapes(call.outputs)}"


def _shapes(tree: Any) -> str:
    is_alone = isinstance(tree, list) and len(tree) == 1
    lines = _svg.to_lines("", tree[0] if is_alone else tree, limit=3)
    if not jax.tree.leaves(tree):
        return "nothing"
    if isinstance(tree, list):  # positions say nothing
        lines = [line.partition("] ")[2] or line for line in lines]
    return ", ".join(lines)


def _row_box(row: _Row, y: float) -> str:
    x = row.depth * _INDENT
    style = row.style
    parts = [svg.box(Point(x, y), Size(row.width, _BOX), [], style)]
    parts.append(svg.text(Point(x + 10, y + 16), Line(row.name, bold=True)))
    if row.kind:
        after = x + 10 + svg.width_of(f"{row.name}  ")
        parts.append(svg.text(Point(after, y + 16), Line(row.kind, svg.GREY)))
    return "".join(parts)


def _lines(rows: Sequence[_Row]) -> list[str]:
    """Returns the lines from modules to those they call."""
    parts = []
    for number, row in enumerate(rows):
        below = range(number + 1, len(rows))
        inside = next((n for n in below if rows[n].depth <= row.depth), len(rows))
        children = [
            n for n in range(number + 1, inside) if rows[n].depth == row.depth + 1
        ]
        x = row.depth * _INDENT + 12
        for child in children:
            y = child * _ROW + _BOX / 2
            parts.append(
                f'<path d="M{x} {number * _ROW + _BOX}V{y}H{x + _INDENT - 12}" '
                f'fill="none" stroke="{svg.EDGE}"/>'
            )
    return parts
