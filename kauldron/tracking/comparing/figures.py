"""Pictures of curves and of predictions, drawn by matplotlib, on light and on dark."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import extras
from kauldron.tracking.comparing import curves as curves_lib
from kauldron.tracking.comparing import judgements, run_source
from kauldron.tracking.registry import shown_values

_PICTURES = (".png", ".svg", ".pdf")
_MAX_POINTS = 1000
# When the colours are used up.
_LINES = ("-", "--", ":", "-.")
# Above so many classes, cells hold no numbers.
_MAX_NUMBERED = 20
_MAX_DOTS = 5000
_GOOD, _BAD = "#10b981", "#ef4444"


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colours of what is no data.

    Attributes:
      text: Of letters and axes.
      faint: Of grids and of lines that only guide.
      background: Behind all; `None` shows what the page has.
      cells: Name of a colour map that begins with the background.
    """

    text: str
    faint: str
    background: str | None
    cells: str


PAPER = Theme(text="#1f2937", faint="#d1d5db", background="white", cells="Blues")
LIGHT = dataclasses.replace(PAPER, background=None)
DARK = Theme(text="#d1d5db", faint="#374151", background=None, cells="cividis")


def to_png(figure: Any, theme: Theme) -> bytes:
    """Returns a figure as the content of a PNG file."""
    content = io.BytesIO()
    background = theme.background or "none"
    figure.savefig(content, format="png", dpi=144, facecolor=background)
    return content.getvalue()


def save_curves(
    curves: Sequence[curves_lib.RunCurve], path: str, *, log_scale: bool = False
) -> None:
    """Writes a picture of curves of one metric.

    Args:
      curves: The curves.
      path: A file that ends with `.png`, `.svg` or `.pdf`.
      log_scale: Whether equal factors are equally far apart.

    Raises:
      ComparingError: If it ends with something else.
    """
    suffix = epath.Path(path).suffix.lower()
    if suffix not in _PICTURES:
        raise run_source.ComparingError(
            f"A picture of curves ends with {', '.join(_PICTURES)}: got {path!r}."
        )
    figure = draw_curves(curves, PAPER, title=curves[0].metric, log_scale=log_scale)
    content = io.BytesIO()
    figure.savefig(content, format=suffix[1:], dpi=144, facecolor=PAPER.background)
    epath.Path(path).write_bytes(content.getvalue())


def draw_curves(
    curves: Sequence[curves_lib.RunCurve],
    theme: Theme,
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
    log_scale: bool = False,
    size: tuple[float, float] = (7.0, 4.0),
) -> Any:
    """Returns a figure of curves.

    Args:
      curves: The curves.
      theme: Colours.
      labels: Of each; whose it is unless given.
      title: Above it.
      log_scale: Whether equal factors are equally far apart.
      size: Width and height, in inches.
    """
    figure, axes = _new(size, theme)
    for i, curve in enumerate(curves):
        thinned = curves_lib.thin(curve.curve, max_points=_MAX_POINTS)
        color = shown_values.COLORS[i % len(shown_values.COLORS)]
        is_short = len(thinned.steps) <= 30
        label = labels[i] if labels else curve.label
        axes.plot(
            thinned.steps,
            [x if math.isfinite(x) else math.nan for x in thinned.values],
            color=color,
            linewidth=1.6,
            linestyle=_LINES[i // len(shown_values.COLORS) % len(_LINES)],
            marker="o" if is_short else None,
            markersize=3.5,
            label=label,
        )
    if log_scale:
        axes.set_yscale("log")
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.margins(x=0.02)
    if len(curves) > 1 or labels:
        axes.legend(frameon=False, labelcolor=theme.text, fontsize=8)
    return figure


def draw_confusion(judged: judgements.Classification, theme: Theme) -> Any:
    """Returns a figure of how often each class was taken for which."""
    counts = judged.confusion
    num_classes = len(counts)
    side = min(8.0, 3.0 + 0.32 * num_classes)
    figure, axes = _new((side + 0.8, side), theme)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap=theme.cells, vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("Confusion")
    if num_classes <= _MAX_NUMBERED:
        axes.set_xticks(range(num_classes))
        axes.set_yticks(range(num_classes))
        for i, j in zip(*np.nonzero(counts), strict=True):
            red, green, blue, _ = image.cmap(image.norm(shares[i, j]))
            is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            axes.text(
                j,
                i,
                f"{counts[i, j]}",
                ha="center",
                va="center",
                fontsize=8,
                color="#111827" if is_light else "white",
            )
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.04)
    bar.set_label("share of the true class", color=theme.text)
    bar.ax.tick_params(colors=theme.text)
    bar.outline.set_edgecolor(theme.faint)
    return figure


def draw_calibration(judged: judgements.Classification, theme: Theme) -> Any:
    """Returns a figure: how often predictions of each confidence are right."""
    figure, axes = _new((4.6, 4.4), theme)
    width = 1 / len(judged.bin_counts)
    middles = (np.arange(len(judged.bin_counts)) + 0.5) * width
    shares = judged.bin_counts / max(judged.num_examples, 1)
    axes.bar(
        middles, shares, width * 0.92, color=theme.faint, label="share of examples"
    )
    axes.plot([0, 1], [0, 1], "--", color=theme.text, linewidth=1, label="ideal")
    axes.plot(
        judged.bin_confidences,
        judged.bin_accuracies,
        "o-",
        color=shown_values.COLORS[0],
        label="model",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.set_title(f"Calibration: error {judged.calibration_error:.3f}")
    axes.legend(frameon=False, labelcolor=theme.text, fontsize=8, loc="upper left")
    return figure


def draw_residuals(preds: np.ndarray, targets: np.ndarray, theme: Theme) -> Any:
    """Returns a figure: predictions over targets, and how residuals are spread."""
    figure, (left, right) = _new((8.4, 3.9), theme, columns=2)
    residuals = (preds - targets).reshape(-1)
    chosen = np.linspace(0, residuals.size - 1, min(residuals.size, _MAX_DOTS))
    places = chosen.astype(np.int64)
    dots = targets.reshape(-1)[places], preds.reshape(-1)[places]
    left.scatter(*dots, s=9, alpha=0.5, linewidths=0, color=shown_values.COLORS[0])
    ends = [float(np.nanmin(targets)), float(np.nanmax(targets))]
    left.plot(ends, ends, "--", color=theme.text, linewidth=1)
    left.set(xlabel="target", ylabel="prediction", title="Predictions")
    finite = residuals[np.isfinite(residuals)]
    right.hist(finite, bins=40, color=shown_values.COLORS[0])
    right.axvline(0, linestyle="--", color=theme.text, linewidth=1)
    right.set(
        xlabel="prediction - target", ylabel="number of values", title="Residuals"
    )
    return figure


def draw_intervals(
    targets: np.ndarray,
    preds: np.ndarray | None,
    lower: np.ndarray,
    upper: np.ndarray,
    theme: Theme,
    *,
    title: str,
) -> Any:
    """Returns a figure of intervals, in the order of the targets.

    Args:
      targets: `f[n]`.
      preds: `f[n]`, if there are any.
      lower: `f[n]`.
      upper: `f[n]`.
      theme: Colours.
      title: What the intervals are.
    """
    figure, axes = _new((7.0, 3.9), theme)
    order = np.argsort(targets, kind="stable")
    if len(order) > 200:
        order = order[np.linspace(0, len(order) - 1, 200).astype(np.int64)]
    places = np.arange(len(order))
    is_inside = ((lower <= targets) & (targets <= upper))[order]
    axes.vlines(
        places,
        lower[order],
        upper[order],
        color=shown_values.COLORS[0],
        alpha=0.35,
        linewidth=2.5,
        label="interval",
    )
    if preds is not None:
        label = "prediction"
        axes.plot(
            places, preds[order], "_", color=shown_values.COLORS[0], label=label, ms=4
        )
    for mask, color, label in (
        (is_inside, _GOOD, "target inside"),
        (~is_inside, _BAD, "target outside"),
    ):
        where = targets[order][mask]
        axes.plot(places[mask], where, ".", color=color, label=label, markersize=4)
    axes.set_title(title)
    axes.set_xlabel("examples, by target")
    axes.legend(frameon=False, labelcolor=theme.text, fontsize=8, loc="upper left")
    return figure


def draw_pictures(
    rows: Sequence[np.ndarray],
    captions: Sequence[str],
    is_good: Sequence[bool],
    theme: Theme,
    *,
    title: str,
) -> Any:
    """Returns a figure of pictures with captions.

    Args:
      rows: `[n h w 1|3|4]` each; what belongs together stands below each other.
      captions: Of each of the n columns.
      is_good: Whether a caption is green or red.
      theme: Colours.
      title: Above all.
    """
    count = len(captions)
    per_line = min(count, 8)
    lines = -(-count // per_line)
    shape = rows[0].shape
    height = shape[1] / shape[2]  # of a picture that is 1 wide
    pitch = height * len(rows) + 0.05 * (len(rows) - 1) + 0.32
    size = (1.2 * per_line, 1.2 * pitch * lines + 0.4)
    # One pair of axes for all: making a pair for each takes ten times as long.
    figure, axes = _new(size, theme)
    axes.set_axis_off()
    axes.set_title(title)
    for i in range(count):
        x, y = 1.08 * (i % per_line), -pitch * (i // per_line)
        color = _GOOD if is_good[i] else _BAD
        axes.text(x, y + 0.04, captions[i], fontsize=7, color=color)
        for j, pictures in enumerate(rows):
            top = y - j * (height + 0.05)
            extent = (x, x + 1, top - height, top)
            axes.imshow(_shown(pictures[i]), extent=extent)
    axes.set(xlim=(0, 1.08 * per_line), ylim=(-pitch * lines + 0.3, 0.3))
    axes.set_aspect("equal")
    return figure


def _shown(picture: np.ndarray) -> np.ndarray:
    """Returns a picture as matplotlib takes it: bytes as they are, else from [0, 1]."""
    if picture.dtype != np.uint8:
        picture = np.asarray(picture, np.float64)
        low, high = min(0.0, float(picture.min())), max(1.0, float(picture.max()))
        picture = (picture - low) / (high - low)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    return picture


def _new(size: tuple[float, float], theme: Theme, *, columns: int = 1) -> Any:
    """Returns a figure and its axes, in the colours of a theme."""
    matplotlib_figure = extras.load(
        "matplotlib.figure", needed_by="A picture of curves", extra="tracking"
    )
    figure = matplotlib_figure.Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, columns)
    for one in np.atleast_1d(axes):
        one.set_facecolor("none")
        one.grid(color=theme.faint, linewidth=0.6, alpha=0.7)
        one.set_axisbelow(True)
        one.tick_params(colors=theme.text, labelsize=8)
        for part in (one.title, one.xaxis.label, one.yaxis.label):
            part.set_color(theme.text)
            part.set_fontsize(10)
        for side, spine in one.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_edgecolor(theme.faint)
    return figure, axes
