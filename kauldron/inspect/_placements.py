"""Which device holds which block of an array: as text, for arrays that are split alike."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from kauldron._base import text_tables

_MAX_CELLS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """Arrays whose blocks lie on the same devices.

    Attributes:
      label: What they are split over, axis by axis, such as `fsdp x tensor`; `whole` on
        every device, or `the compiler decides`.
      num_rows: Blocks along the first axis that is split; 1 if only one is.
      num_columns: Blocks along the others that are split.
      devices: Of each block, row by row: the devices that hold it.
      paths: The arrays, such as `params.encoder.kernel`.
      num_bytes: Of all of them.
      num_bytes_per_device: Of the parts that a device holds.
    """

    label: str
    num_rows: int
    num_columns: int
    devices: tuple[tuple[int, ...], ...]
    paths: tuple[str, ...]
    num_bytes: int
    num_bytes_per_device: int

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Placement:
        """Returns a placement of what JSON has made of its fields."""
        devices = tuple(map(tuple, values["devices"]))
        paths = tuple(values["paths"])
        return cls(**{**values, "devices": devices, "paths": paths})

    @property
    def title(self) -> str:
        """One line: how they are split, how many they are, and their size."""
        number = f"{len(self.paths)} array{'s' * (len(self.paths) > 1)}"
        whole, part = map(
            text_tables.format_bytes, (self.num_bytes, self.num_bytes_per_device)
        )
        how = self.label if len(self.devices) == 1 else f"split over {self.label}"
        return f"{how}: {number}, {whole}, on each device {part}"

    def rows(self, limit: int) -> list[list[str]]:
        """Returns the devices of each block; of many blocks, those at the ends."""
        texts = [format_devices(ids) for ids in self.devices]
        width = self.num_columns
        rows = [
            abbreviated(texts[start : start + width], limit)
            for start in range(0, len(texts), width)
        ]
        return abbreviated(rows, limit, more=["..."] * len(rows[0]))

    def __str__(self) -> str:
        rows = self.rows(_MAX_CELLS)
        width = max(len(cell) for row in rows for cell in row)
        rule = "+" + "+".join(["-" * (width + 2)] * len(rows[0])) + "+"
        lines = [self.title, f"  {rule}"]
        for row in rows:
            lines += [
                "  | " + " | ".join(cell.center(width) for cell in row) + " |",
                f"  {rule}",
            ]
        return "\n".join(lines)


def placements(
    leaves: Iterable[tuple[str, Any, str, int, int]],
) -> tuple[Placement, ...]:
    """Returns the placements of arrays, those of most bytes first.

    Args:
      leaves: Path, spec, label, bytes, and bytes on each device, of each array.
    """
    groups: dict[Any, list[tuple[str, int, int]]] = collections.defaultdict(list)
    cached: dict[Any, Any] = {}
    for path, leaf, label, num_bytes, per_device in leaves:
        key = (leaf.sharding, tuple(leaf.shape))
        if key not in cached:
            cached[key] = _blocks(leaf)
        groups[label, *cached[key]].append((path, num_bytes, per_device))
    found = [
        Placement(
            label=label,
            num_rows=num_rows,
            num_columns=num_columns,
            devices=devices,
            paths=tuple(path for path, _, _ in arrays),
            num_bytes=sum(whole for _, whole, _ in arrays),
            num_bytes_per_device=sum(part for _, _, part in arrays),
        )
        for (label, num_rows, num_columns, devices), arrays in groups.items()
    ]
    return tuple(sorted(found, key=lambda p: p.num_bytes, reverse=True))


def format_devices(ids: Sequence[int]) -> str:
    """Returns the numbers of devices: `0-7`, `0,2,..,14`, or `0,5`."""
    if len(ids) > 2:
        steps = {b - a for a, b in itertools.pairwise(ids)}
        if steps == {1}:
            return f"{ids[0]}-{ids[-1]}"
        if len(ids) > 4:
            return f"{ids[0]},{ids[1]},..,{ids[-1]}"
    return ",".join(map(str, ids))


def abbreviated(items: list[Any], limit: int, more: Any = "...") -> list[Any]:
    """Returns a list, with `more` in the place of those in the middle of a long one."""
    if len(items) <= limit:
        return items
    return [*items[: limit - 2], more, items[-1]]


def _blocks(leaf: Any) -> tuple[int, int, tuple[tuple[int, ...], ...]]:
    """Returns rows, columns, and the devices of each block of an array."""
    shape = tuple(leaf.shape)
    if leaf.sharding is None:
        return 1, 1, (tuple(d.id for d in jax.devices()),)
    if leaf.sharding.is_fully_replicated:
        return 1, 1, (tuple(sorted(d.id for d in leaf.sharding.device_set)),)
    by_start: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
    for device, index in leaf.sharding.devices_indices_map(shape).items():
        by_start[tuple(s.start or 0 for s in index)].append(device.id)
    shards = [
        -(-n // k) for n, k in zip(shape, leaf.sharding.shard_shape(shape), strict=True)
    ]
    split = [n for n in shards if n > 1]
    num_rows = split[0] if len(split) > 1 else 1
    devices = tuple(tuple(sorted(by_start[start])) for start in sorted(by_start))
    return num_rows, math.prod(shards) // num_rows, devices
