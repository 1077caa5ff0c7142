"""Replica groups of optimized HLO: which devices take part in a collective together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

_LISTED = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](.*?) \{([^}]*)\}")
_MESH_ORDER = re.compile(
    r"device_ids=\(?\[([\d,]+)\](?:<=\[[\d,]+\])?(?:T\(([\d,]+)\))?"
)
_AXIS = re.compile(r"'([^']+)'(?::\((\d+)\)(\d+))?")


def read(line: str, num_devices: int) -> list[tuple[int, ...]]:
    """Returns the groups of an instruction; for a permutation, its (source, target) pairs.

    Args:
      line: An instruction, as `compiled.as_text()` has it. The groups are listed, an
        iota (`[4,2]<=[2,4]T(1,0)`), or axes of a mesh (`mesh['a'=4,'b'=2] {'a'}`).
      num_devices: Of the program; no groups means one of all.
    """
    if found := _PAIRS.search(line):
        return _listed(found[1])
    if found := _MESH.search(line):
        return _of_mesh(found[1], found[2], found[3])
    if found := _IOTA.search(line):
        shape, dims, order = (_ints(text or "") for text in found.groups())
        ids = np.arange(math.prod(dims)).reshape(dims)
        ids = ids.transpose(order) if order else ids
        return _rows(ids.reshape(shape[0], -1))
    found = _LISTED.search(line)
    return _listed(found[1] if found else "") or [tuple(range(num_devices))]


def mesh_axes_of(
    groups: Sequence[tuple[int, ...]], mesh: Mapping[str, int]
) -> tuple[str, ...]:
    """Returns the axes of a mesh that groups run along; all of them if none do exactly.

    Args:
      groups: Of positions in the mesh, row by row.
      mesh: Axis -> number of devices.
    """
    sizes = tuple(mesh.values())
    members = np.stack([np.unravel_index(list(g), sizes) for g in groups])
    varies = (members != members[:, :, :1]).any(axis=(0, 2))
    return tuple(
        axis for axis, is_used in zip(mesh, varies, strict=True) if is_used
    ) or tuple(mesh)


def _listed(text: str) -> list[tuple[int, ...]]:
    return [_ints(group) for group in re.findall(r"\{([\d,]+)\}", text)]


def _of_mesh(axes: str, order: str, used: str) -> list[tuple[int, ...]]:
    sizes = {k: int(n) for k, n in re.findall(r"'([^']+)'=(\d+)", axes)}
    ids = np.arange(math.prod(sizes.values()))
    if found := _MESH_ORDER.search(order):
        dims, transposed = _ints(found[1]), _ints(found[2] or "")
        ids = ids.reshape(dims)
        ids = (ids.transpose(transposed) if transposed else ids).reshape(-1)
    # An axis may be used in part: `'a':(2)4` are the 4 in the middle of 2 x 4 x rest.
    parts = {
        name: (int(before or 1), int(size or sizes[name]))
        for name, before, size in _AXIS.findall(used)
    }
    shape: list[int] = []
    inside: list[bool] = []
    for name, size in sizes.items():
        before, part = parts.get(name, (size, 1))
        shape += [before, part, size // (before * part)]
        inside += [False, name in parts, False]
    order_of = sorted(range(len(shape)), key=lambda i: inside[i])
    size_of_group = math.prod(n for n, on in zip(shape, inside, strict=True) if on)
    return _rows(ids.reshape(shape).transpose(order_of).reshape(-1, size_of_group))


def _rows(ids: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, row)) for row in ids]


def _ints(text: str) -> tuple[int, ...]:
    return tuple(int(x) for x in text.split(",") if x)
