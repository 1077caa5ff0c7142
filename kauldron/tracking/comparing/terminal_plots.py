"""Curves drawn with characters, in the terminal."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from typing import Any

from kauldron._base import extras
from kauldron.tracking.comparing import curves as curves_lib
from kauldron.tracking.registry import shown_values

_COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
# plotext draws on one figure, which all callers share.
_figure_lock = threading.Lock()


def draw_in_terminal(
    curves: Sequence[curves_lib.RunCurve],
    *,
    width: int = 80,
    height: int = 20,
    colors: bool = True,
    log_scale: bool = False,
) -> str:
    """Returns curves as lines of text, and below them whose they are.

    Args:
      curves: Of one metric.
      width: Characters of a line.
      height: Lines, without those that say whose the curves are.
      colors: Whether to use them, as codes of terminals.
      log_scale: Whether equal factors are equally far apart; only positive values are
        drawn then.
    """
    plotext = extras.load(
        "plotext", needed_by="A plot in the terminal", extra="tracking"
    )
    with _figure_lock:
        text = _draw(plotext, curves, width, height, log_scale)
    legend = "\n".join(
        _in_color(f"── {curve.label}{_newest(curve)}", i)
        for i, curve in enumerate(curves)
    )
    text = f"{text.rstrip()}\n{legend}"
    if colors:
        return text
    lines = _COLOR_CODES.sub("", text).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _draw(
    plotext: Any,
    curves: Sequence[curves_lib.RunCurve],
    width: int,
    height: int,
    log_scale: bool,
) -> str:
    figure = plotext.figure
    plotext.terminal.limit(False, False)  # pages of Textual have their own sizes
    figure.clear.all()
    figure.plot_size(width, height)
    figure.theme("simple")
    figure.title(curves[0].metric if curves else "")
    steps: list[int] = []
    heights: list[float] = []
    for i, curve in enumerate(curves):
        points = _points(curve, log_scale=log_scale, max_points=4 * width)
        if not points:
            continue
        steps += [points[0][0], points[-1][0]]
        heights += [y for _, y in points]
        marker = plotext.marker("braille", _rgb(i))
        signal = figure.signal(*zip(*points, strict=True), marker=marker)
        signal.lines()
        figure.draw(signal)
    if steps:
        ticks = _round_steps(min(steps), max(steps), count=max(2, width // 16))
        figure.ruler(axis="x").ticks(ticks, [f"{tick:,}" for tick in ticks])
    if heights and log_scale:
        places = _between(min(heights), max(heights), count=max(2, height // 4))
        figure.ruler(axis="y").ticks(places, [f"{10**y:.3g}" for y in places])
    return figure.build().string()


def _points(
    curve: curves_lib.RunCurve, *, log_scale: bool, max_points: int
) -> list[tuple[int, float]]:
    """Returns what is drawn; plotext's own log scale fails on one value below 1."""
    thinned = curves_lib.thin(curve.curve, max_points=max_points)
    return [
        (step, math.log10(value) if log_scale else value)
        for step, value in zip(thinned.steps, thinned.values, strict=True)
        if math.isfinite(value) and (value > 0 or not log_scale)
    ]


def _between(low: float, high: float, *, count: int) -> list[float]:
    if low == high:
        return [low]
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def _round_steps(first: int, last: int, *, count: int) -> list[int]:
    """Returns about `count` round numbers from the first to the last step."""
    if last <= first:
        return [first]
    raw = (last - first) / count
    power = 10 ** math.floor(math.log10(raw)) if raw >= 1 else 1
    gap = next(
        (int(power * f) for f in (1, 2, 5, 10) if power * f >= raw), max(1, int(raw))
    )
    return list(range(-(-first // gap) * gap, last + 1, gap))


def _newest(curve: curves_lib.RunCurve) -> str:
    values = curve.curve.values
    if not values:
        return ": no values"
    return (
        f": {shown_values.format_value(values[-1])} at step {curve.curve.steps[-1]:,}"
    )


def _rgb(place: int) -> tuple[int, int, int]:
    color = shown_values.COLORS[place % len(shown_values.COLORS)]
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _in_color(text: str, place: int) -> str:
    return f"\x1b[38;2;{';'.join(map(str, _rgb(place)))}m{text}\x1b[0m"
