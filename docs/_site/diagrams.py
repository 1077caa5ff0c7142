"""Pictures of ideas: boxes and arrows, narrow enough for a phone."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Sequence

_WIDTH = 420
_LINE = 18
_PADDING = 10
_FILLS = {
    "plain": ("#f8f9fa", "#dadce0"),
    "host": ("#e8f0fe", "#8ab4f8"),
    "device": ("#e6f4ea", "#81c995"),
    "disk": ("#fef7e0", "#fdd663"),
    "random": ("#fce8e6", "#f28b82"),
}
# Drawn for a light page; a dark one gets the same with its lightness turned round.
DARK = (
    "<style>@media (prefers-color-scheme: dark)"
    "{svg>*{filter:invert(.89) hue-rotate(180deg)}}</style>\n"
)


@dataclasses.dataclass(frozen=True)
class Box:
    """Where a box is, in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> tuple[float, float]:
        """Middle of the upper edge."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """Middle of the lower edge."""
        return self.x + self.width / 2, self.y + self.height


class Diagram:
    """A picture that is put together box by box.

    Args:
      title: What it shows, for those who cannot see it.
      width: In pixels.
    """

    def __init__(self, title: str, width: int = _WIDTH) -> None:
        self._title = title
        self._width = width
        self._parts: list[str] = []
        self._height = 0.0

    def box(
        self,
        x: float,
        y: float,
        width: float,
        title: str,
        lines: Sequence[str] = (),
        *,
        kind: str = "plain",
    ) -> Box:
        """Adds a box with a bold title and lines below, and returns where it is."""
        fill, stroke = _FILLS[kind]
        height = _LINE * (len(lines) + bool(title)) + _PADDING
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"/>'
        )
        rows = [(title, ' font-weight="bold"', "#202124")] if title else []
        rows += [(line, "", "#5f6368") for line in lines]
        for i, (row, weight, color) in enumerate(rows):
            self.text(x + width / 2, y + _LINE * (i + 1), row, color, weight)
        self._height = max(self._height, y + height)
        return Box(x, y, width, height)

    def text(
        self, x: float, y: float, text: str, color: str = "#5f6368", extra: str = ""
    ) -> None:
        """Adds a line of text, its middle at `x`."""
        self._parts.append(
            f'<text x="{x}" y="{y}" text-anchor="middle" fill="{color}"{extra} '
            f'xml:space="preserve">{html.escape(text)}</text>'
        )
        self._height = max(self._height, y + 4)

    def label(self, x: float, y: float, text: str) -> None:
        """Adds a line of text that hides the arrows behind it."""
        halo = ' stroke="#ffffff" stroke-width="8" paint-order="stroke"'
        self.text(x, y, text, extra=halo)

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        label: str = "",
        *,
        offset: float = 0,
    ) -> None:
        """Adds an arrow; its label stands `offset` pixels right of its middle."""
        (x0, y0), (x1, y1) = start, end
        middle = (y0 + y1) / 2
        self._parts.append(
            f'<path d="M{x0} {y0}C{x0} {middle} {x1} {middle} {x1} {y1}" fill="none" '
            'stroke="#80868b" stroke-width="1.3" marker-end="url(#arrow)"/>'
        )
        if label:
            self.label((x0 + x1) / 2 + offset, middle + 4, label)

    def svg(self) -> str:
        """Returns the picture."""
        margin = 16
        width, height = self._width + 2 * margin, self._height + 2 * margin
        body = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-size="12" font-family="ui-monospace,'
            "Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace\">\n"
            f"<title>{html.escape(self._title)}</title>\n{DARK}"
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#80868b"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>\n'
            f'<g transform="translate({margin} {margin})">\n{body}\n</g>\n</svg>\n'
        )


def _chain(diagram: Diagram, boxes: Sequence[tuple[str, str, Sequence[str], str]]):
    """Draws boxes below each other, with labelled arrows between them."""
    y, last = 0.0, None
    for kind, title, lines, label in boxes:
        box = diagram.box(40, y, 340, title, lines, kind=kind)
        if last is not None:
            diagram.arrow(last.bottom, box.top, label, offset=100)
        last, y = box, y + box.height + 38


def config_to_trainer() -> Diagram:
    """From a config file to the files of a run."""
    diagram = Diagram("From a config file to a run")
    _chain(
        diagram,
        [
            ("plain", "config.py", ["with konfig.imports(): ...", "get_config()"], ""),
            (
                "plain",
                "ConfigDict",
                ["calls that were written down,", "nothing imported, nothing run"],
                "get_config()",
            ),
            (
                "plain",
                "ConfigDict",
                ["the same, with your values"],
                "--cfg.seed=1",
            ),
            (
                "host",
                "Trainer",
                ["frozen objects; data not opened,", "nothing on the devices yet"],
                "resolve",
            ),
            (
                "disk",
                "workdir",
                ["config.json  config.py", "checkpoints/  metrics.jsonl"],
                "train()",
            ),
        ],
    )
    return diagram


def step() -> Diagram:
    """What happens in one step, with the keys that exist after it."""
    diagram = Diagram("One step, and the keys that are there after each part")
    _chain(
        diagram,
        [
            ("host", "batch of the pipeline", ["batch.*"], ""),
            (
                "device",
                "forward",
                ["preds.*  interms.*  collections.*"],
                "model's keys",
            ),
            ("device", "losses", ["loss_states.*  loss_total"], "losses' keys"),
            ("device", "gradient, optimizer", ["grads.*  updates.*"], "jax.grad"),
            (
                "device",
                "metrics, summaries",
                ["small states, on logging steps"],
                "their keys",
            ),
            (
                "host",
                "compute, write",
                ["in a thread, while the next", "steps run"],
                "states",
            ),
        ],
    )
    return diagram


def metric_algebra() -> Diagram:
    """How the states of batches become one number."""
    diagram = Diagram("Metric states of batches are merged, then computed")
    batches = [
        diagram.box(x, 0, 120, f"batch {i}") for i, x in enumerate((0, 150, 300))
    ]
    numbers = ("64 right 60", "64 right 58", "17 right 16")
    states = [
        diagram.box(b.x, 84, 120, "State", [text], kind="device")
        for b, text in zip(batches, numbers, strict=True)
    ]
    for batch, state in zip(batches, states, strict=True):
        diagram.arrow(batch.bottom, state.top)
    diagram.label(210, 54, "get_state, inside jit")
    merged = diagram.box(140, 196, 140, "State", ["145 right 134"], kind="host")
    for state in states:
        diagram.arrow(state.bottom, merged.top)
    diagram.label(210, 164, "merge, in any order")
    value = diagram.box(140, 290, 140, "0.924", kind="host")
    diagram.arrow(merged.bottom, value.top, "compute", offset=44)
    return diagram


def data_order() -> Diagram:
    """How the order of examples comes about."""
    diagram = Diagram("The order of the data")
    source = diagram.box(60, 0, 300, "source", ["0 1 2 3 4 5 6 7 8 9 ..."], kind="disk")
    order = diagram.box(
        60,
        90,
        300,
        "order of this epoch",
        ["7 2 9 0 | 4 8 1 5 | 3 6 ..."],
        kind="random",
    )
    diagram.arrow(source.bottom, order.top, "seed, epoch", offset=60)
    parts = [
        diagram.box(x, 196, 190, f"process {i}", [rows], kind="host")
        for i, (x, rows) in enumerate(
            [(0, "7 2 | 4 8 | ..."), (230, "9 0 | 1 5 | ...")]
        )
    ]
    for part in parts:
        diagram.arrow(order.bottom, part.top)
    diagram.label(210, 168, "each takes its rows of every batch")
    made = [
        diagram.box(
            part.x, 302, 190, "transforms", ["seed, epoch, index"], kind="random"
        )
        for part in parts
    ]
    for part, after in zip(parts, made, strict=True):
        diagram.arrow(part.bottom, after.top, "by any worker")
    batch = diagram.box(60, 408, 300, "global batch", ["7 2 9 0"], kind="device")
    for after in made:
        diagram.arrow(after.bottom, batch.top)
    return diagram


def randomness() -> Diagram:
    """How every random number follows from one seed."""
    diagram = Diagram("One seed, folded by name and by step")
    seed = diagram.box(150, 0, 120, "cfg.seed", kind="random")
    streams = [
        diagram.box(x, 74, 120, name, [what])
        for x, name, what in [
            (0, "'params'", "once"),
            (150, "'dropout'", "each step"),
            (300, "data", "each epoch"),
        ]
    ]
    for stream in streams:
        diagram.arrow(seed.bottom, stream.top)
    diagram.label(210, 50, "fold_in(name)")
    steps = [
        diagram.box(x, 184, 120, title, kind="random")
        for x, title in [(75, "step 0"), (225, "step 1")]
    ]
    for after in steps:
        diagram.arrow(streams[1].bottom, after.top)
    diagram.label(210, 154, "fold_in(step)")
    module = diagram.box(
        75, 262, 270, "self.make_rng('dropout')", ["folded by the module's path"]
    )
    for before in steps:
        diagram.arrow(before.bottom, module.top)
    return diagram


def checkpoints() -> Diagram:
    """What is saved, and how a run continues."""
    diagram = Diagram("What a checkpoint holds, and how a run continues from it")
    first = diagram.box(0, 0, 180, "steps 0 ... 199", kind="device")
    lost = diagram.box(0, 66, 180, "steps 200 ... 263", ["killed"], kind="plain")
    diagram.arrow(first.bottom, lost.top)
    held = [
        "parameters, moments",
        "collections, step",
        "place in the data",
        "counts of hooks",
        "checksums",
    ]
    saved = diagram.box(240, 66, 180, "ckpt_200/", held, kind="disk")
    diagram.arrow(first.bottom, saved.top)
    diagram.label(222, 48, "saved while steps go on")
    rest = diagram.box(
        0, 226, 180, "steps 200 ... 600", ["the same bits"], kind="device"
    )
    diagram.arrow(saved.bottom, rest.top)
    diagram.label(210, 208, "the same command again")
    return diagram


ALL: dict[str, Callable[[], Diagram]] = {
    "config_to_trainer": config_to_trainer,
    "step": step,
    "metric_algebra": metric_algebra,
    "data_order": data_order,
    "randomness": randomness,
    "checkpoints": checkpoints,
}
