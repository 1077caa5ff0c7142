"""How keys wire a run: data, model, losses, metrics, summaries, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kauldron import kontext
from kauldron._base import svg
from kauldron._base.svg import Line, Size, Style
from kauldron.inspect import _layered_layout, _svg
from kauldron.inspect.displays import key_uses

if TYPE_CHECKING:
    from kauldron import train

_DATA = Style(fill="#e6f4ea", stroke="#34a853")
_MODEL = Style(fill="#e8f0fe", stroke="#4285f4")
_KEY = Style(fill="#f8f9fa", stroke="#bdc1c6", radius=12)
_READERS = {
    "train_losses": Style(fill="#fce8e6", stroke="#d93025"),
    "train_metrics": Style(fill="#fef7e0", stroke="#f9ab00"),
    "train_summaries": Style(fill="#f3e8fd", stroke="#a142f4"),
}
_ROOT_OF = {"batch": "cfg.train_ds", "preds": "cfg.model", "interms": "cfg.model"}


def get_connection_graph(trainer: train.Trainer) -> _svg.Picture:
    """Draws which keys of a training step are read by what; nothing is computed."""
    specs = trainer.context_specs
    boxes: dict[str, list[Line]] = {}
    styles: dict[str, Style] = {}
    edges: list[tuple[str, str]] = []

    def add(name: str, kind: str, style: Style) -> None:
        boxes.setdefault(name, [Line(name, bold=True), Line(kind, svg.GREY)])
        styles.setdefault(name, style)

    add("cfg.train_ds", type(trainer.train_ds).__name__, _DATA)
    add("cfg.model", type(trainer.model).__name__, _MODEL)
    for reader in key_uses.readers_of(trainer):
        group = reader.field.removeprefix("cfg.").partition("[")[0].partition(".")[0]
        if group == "model":
            name = "cfg.model"
        elif group in _READERS and not _is_plain_step(reader.reads):
            name = reader.field.removeprefix("cfg.").rpartition(".")[0]
            add(name, reader.kind, _READERS[group])
        else:
            continue
        key = reader.reads
        root = _ROOT_OF.get(str(key).partition(".")[0].partition("[")[0])
        if key not in boxes:
            boxes[key] = [Line(key), *_spec_lines(specs, key)]
            styles[key] = _KEY
            if root is not None:
                edges.append((root, key))
        if (key, name) not in edges and not (root == name == "cfg.model"):
            edges.append((key, name))
    sizes = {name: svg.size_of(lines) for name, lines in boxes.items()}
    layout = _layered_layout.layered(sizes, edges)
    parts = [svg.arrow(route) for route in layout.routes]
    parts += [
        svg.box(layout.corners[name], sizes[name], lines, styles[name])
        for name, lines in boxes.items()
    ]
    size = Size(layout.size.width, layout.size.height)
    return _svg.Picture(svg.document(parts, size, title="Keys of a training step"))


def _is_plain_step(key: str) -> bool:
    """Whether it is the counter that every loss may read for its weight."""
    return key == "step"


def _spec_lines(specs: object, key: str) -> list[Line]:
    try:
        spec = kontext.format_spec(kontext.get_by_path(specs, key))
    except (KeyError, ValueError, TypeError):
        spec = ""
    return [Line(spec, svg.GREY)] if spec else []
