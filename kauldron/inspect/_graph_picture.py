"""The picture of a `kd.nn.Graph`: its nodes, and what flows between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from kauldron import kontext, modules
from kauldron._base import svg
from kauldron._base.svg import Line, Point, Size, Style
from kauldron.inspect import _layered_layout, _model_trace, _svg

# Fill and stroke.
_MODULE, _FUNCTION, _FROZEN = (
    ("#e8f0fe", "#4285f4"),
    ("#f8f9fa", "#bdc1c6"),
    ("#e4e7eb", "#5f6368"),
)
_INPUT = Style(fill="#e6f4ea", stroke="#34a853", radius=12)
_OUTPUT = Style(fill="#fef7e0", stroke="#f9ab00", radius=12)
_STRIPES = ("#a142f4", "#e8710a", "#12a4af", "#d01884", "#5c6bc0", "#7cb342")
_WHEN = {"train": "in training only", "eval": "in predictions only"}


def draw(graph: modules.Graph, trace: _model_trace.Trace) -> _svg.Picture:
    """Returns the picture of a graph that was traced."""
    results = {
        call.path[0]: call.outputs for call in trace.calls if len(call.path) == 1
    }
    boxes: dict[str, list[Line]] = {}
    styles: dict[str, Style] = {}
    edges: list[tuple[str, str]] = []
    dashed: list[bool] = []

    def connect(source: Any, to: str, when: str = "always") -> None:
        origin = source.node
        if origin is None:
            origin = _input_box(source.key, graph, trace, boxes, styles)
        edges.append((origin, to))
        optional = graph.nodes[source.node].when if source.node else "always"
        dashed.append("always" not in (when, optional) or when != optional)

    stripes = dict(zip(graph.shared, _STRIPES * len(graph.shared), strict=False))
    for step in graph.plan.steps:
        node = graph.nodes[step.name]
        boxes[step.name] = _node_lines(graph, step, results[step.name], trace)
        is_module = node.shared is not None or isinstance(node.module, nn.Module)
        fill, stroke = _FROZEN if node.frozen else _MODULE if is_module else _FUNCTION
        styles[step.name] = Style(
            fill=fill,
            stroke=stroke,
            dashed=node.when != "always",
            stripe=stripes.get(node.shared or ""),
        )
        for source in step.sources:
            connect(source, step.name, node.when)
    for name, source in _outputs(graph.plan.outputs):
        box = f"-> {name}"
        boxes[box], styles[box] = [Line(name, bold=True)], _OUTPUT
        if source.node and not source.is_whole:
            boxes[box].append(Line(f"reads {source.key}", svg.GREY))
        connect(source, box)
    return _assemble(boxes, styles, edges, dashed, _title(trace))


def _node_lines(
    graph: modules.Graph, step: Any, result: Any, trace: _model_trace.Trace
) -> list[Line]:
    node = graph.nodes[step.name]
    lines = [Line(step.name, bold=True)]
    if node.shared is None:
        lines.append(Line(node.kind, svg.GREY))
    else:
        kind = type(graph.shared[node.shared]).__name__
        lines.append(Line(f"{kind}, weights of {node.shared!r}", svg.GREY))
    parts = dict.fromkeys(s.key for s in step.sources if s.node and not s.is_whole)
    lines += [Line(f"reads {key}", svg.GREY) for key in parts]
    lines += [Line(text) for text in _svg.to_lines("", result)]
    if count := trace.num_params((node.shared or step.name,)):
        frozen = "frozen, " if node.frozen else ""
        lines.append(Line(f"{frozen}{_svg.plural(count, 'parameter')}", svg.GREY))
    if node.when != "always":
        lines.append(Line(_WHEN[node.when], "#b06000"))
    return lines


def _input_box(
    key: str,
    graph: modules.Graph,
    trace: _model_trace.Trace,
    boxes: dict[str, list[Line]],
    styles: dict[str, Style],
) -> str:
    box = f"<- {key}"
    if box not in boxes:
        spec = trace.inputs.get(key)
        if spec is None:
            spec = kontext.get_by_path(trace.inputs, key)
        texts = _svg.to_lines("", spec)
        boxes[box] = [Line(key, bold=True), *map(Line, texts)]
        styles[box] = _INPUT
    return box


def _outputs(tree: Any, path: kontext.Path | None = None) -> list[tuple[str, Any]]:
    """Returns the key of each output, with its source."""
    path = kontext.Path("preds") if path is None else path
    if isinstance(tree, Mapping):
        items = list(tree.items())
    elif isinstance(tree, tuple):
        items = list(enumerate(tree))
    else:
        return [(str(path), tree)]
    return [
        found
        for part, child in items
        for found in _outputs(child, path + kontext.Path(part))
    ]


def _title(trace: _model_trace.Trace) -> str:
    return f"Graph, {_svg.plural(trace.num_params(), 'parameter')}"


def _assemble(
    boxes: Mapping[str, list[Line]],
    styles: Mapping[str, Style],
    edges: list[tuple[str, str]],
    dashed: list[bool],
    title: str,
) -> _svg.Picture:
    sizes = {name: svg.size_of(lines) for name, lines in boxes.items()}
    layout = _layered_layout.layered(sizes, edges)
    parts = [
        svg.arrow(route, dashed=dash)
        for route, dash in zip(layout.routes, dashed, strict=True)
    ]
    for name, lines in boxes.items():
        parts.append(svg.box(layout.corners[name], sizes[name], lines, styles[name]))
    width, height = layout.size
    parts.append(svg.text(Point(0, height + 26), Line(title, svg.GREY)))
    size = Size(max(width, svg.width_of(title)), height + 30)
    return _svg.Picture(svg.document(parts, size, title=title))
