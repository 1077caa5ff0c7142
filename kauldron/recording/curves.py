"""Curves as SVG: losses, metrics, schedules over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from kauldron._base import svg
from kauldron._base.svg import Line, Point, Size

Numbers = Sequence[float] | np.ndarray

_COLORS = ("#1a73e8", "#d93025", "#188038", "#f29900", "#9334e6", "#00838f", "#c2185b")
_WIDTH, _HEIGHT = 520.0, 220.0
_LEFT, _BOTTOM = 64.0, 26.0


def draw(curves: Mapping[str, tuple[Numbers, Numbers]], *, title: str = "") -> str:
    """Draws curves over a common axis of steps.

    Args:
      curves: Name -> (steps, values); values that are not finite leave gaps.
      title: Above the picture.
    """
    finite = {name: _finite(*curve) for name, curve in curves.items()}
    xs = np.concatenate([x for x, _ in finite.values()] or [np.zeros(0)])
    ys = np.concatenate([y for _, y in finite.values()] or [np.zeros(0)])
    left, right = _range(xs)
    low, high = _range(ys)
    parts = [svg.text(Point(0, 12), Line(title, bold=True))] if title else []
    top = 24.0 if title else 6.0

    def to_x(value: float) -> float:
        return _LEFT + (value - left) / (right - left) * _WIDTH

    def to_y(value: float) -> float:
        return top + (1 - (value - low) / (high - low)) * _HEIGHT

    for tick in _ticks(low, high):
        y = to_y(tick)
        parts.append(
            f'<line x1="{_LEFT:.1f}" x2="{_LEFT + _WIDTH:.1f}" y1="{y:.1f}" '
            f'y2="{y:.1f}" stroke="#e8eaed"/>'
        )
        label = Line(f"{tick:.4g}", svg.GREY)
        parts.append(svg.text(Point(_LEFT - 8, y + 4), label, anchor="end"))
    for tick in _ticks(left, right):
        label = Line(f"{tick:,.6g}", svg.GREY)
        at = Point(to_x(tick), top + _HEIGHT + 18)
        parts.append(svg.text(at, label, anchor="middle"))
    y = top + _HEIGHT + _BOTTOM + 16
    for i, (name, (steps, values)) in enumerate(finite.items()):
        color = _COLORS[i % len(_COLORS)]
        parts += _line([to_x(s) for s in steps], [to_y(v) for v in values], color)
        last = f": {values[-1]:.4g}" if len(values) else ": no finite value"
        parts.append(
            f'<rect x="{_LEFT:.1f}" y="{y - 9:.1f}" width="14" height="4" '
            f'fill="{color}"/>'
        )
        parts.append(svg.text(Point(_LEFT + 20, y), Line(f"{name}{last}")))
        y += svg.LINE
    longest = max((svg.width_of(name) + 120 for name in finite), default=0.0)
    size = Size(max(_LEFT + _WIDTH + 20, _LEFT + longest), y)
    return svg.document(parts, size, title=title or "curves")


def _line(xs: list[float], ys: list[float], color: str) -> list[str]:
    if len(xs) == 1:
        return [f'<circle cx="{xs[0]:.1f}" cy="{ys[0]:.1f}" r="3" fill="{color}"/>']
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    return [
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.8" '
        'stroke-linejoin="round"/>'
    ]


def _finite(steps: Numbers, values: Numbers) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    keep = np.isfinite(y)
    return x[keep], y[keep]


def _range(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) * 0.1 or 1.0
        return low - margin, high + margin
    return low, high


def _ticks(low: float, high: float) -> list[float]:
    """Returns about five round numbers in a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]
