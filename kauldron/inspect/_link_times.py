"""The time that collectives take at given speeds of the links between devices."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kauldron._base import errors
from kauldron.inspect._collectives import Collective


class LinkSpeedError(errors.UserError, ValueError):
    """A speed of links that is no number, or of an axis that the mesh does not have."""


def parse(text: str, mesh: Mapping[str, int]) -> dict[str, float]:
    """Returns mesh axis -> GB/s, of `"400"` or `"data=25,tensor=400"`.

    Args:
      text: What a device sends in a second in one direction, in 10**9 bytes: of all axes,
        or of each.
      mesh: Axis -> number of devices.

    Raises:
      LinkSpeedError: A `ValueError`: something else was given, or not for each axis.
    """
    if "=" not in text:
        return dict.fromkeys(mesh, _speed(text, text))
    speeds = {}
    for item in text.split(","):
        axis, _, speed = (part.strip() for part in item.partition("="))
        if axis not in mesh:
            raise LinkSpeedError(
                f"`link_gb_per_s={text!r}` names the mesh axis {axis!r}, and there are "
                f"{list(mesh)}.{errors.did_you_mean(axis, mesh)}"
            )
        speeds[axis] = _speed(speed, text)
    missing = [axis for axis, size in mesh.items() if size > 1 and axis not in speeds]
    if missing:
        raise LinkSpeedError(
            f"`link_gb_per_s={text!r}` has no speed for {missing}: give one for each axis, "
            "or a single number for all."
        )
    return speeds


def seconds(collective: Collective, speeds: Mapping[str, float]) -> float:
    """Returns how long all calls of a collective take, one after the other.

    A ring along several axes is as slow as the slowest of them. Latencies are left out.
    """
    speed = min(speeds[axis] for axis in collective.mesh_axes if axis in speeds)
    return collective.num_calls * collective.num_bytes_sent / (speed * 1e9)


def _speed(number: str, text: str) -> float:
    try:
        speed = float(number)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise LinkSpeedError(
            f"`link_gb_per_s={text!r}`: {number!r} is no speed in GB/s. Write "
            "`--link_gb_per_s=400`, or `data=25,tensor=400` for each axis of the mesh."
        )
    return speed
