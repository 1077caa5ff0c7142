"""Curves as pictures: losses, metrics, schedules over the steps."""

from __future__ import annotations

from collections.abc import Mapping

from kauldron.inspect import _svg
from kauldron.recording import curves as curves_lib


def plot_lines(
    curves: Mapping[str, tuple[curves_lib.Numbers, curves_lib.Numbers]],
    *,
    title: str = "",
) -> _svg.Picture:
    """Draws curves over a common axis of steps.

    Args:
      curves: Name -> (steps, values); values that are not finite leave gaps.
      title: Above the picture.
    """
    return _svg.Picture(curves_lib.draw(curves, title=title))
