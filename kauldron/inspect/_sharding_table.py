"""How the state of a run is split over the devices, array by array, in bytes."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from kauldron._base import text_tables
from kauldron.inspect import _placement_picture, _placements, _svg
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState

# Whole on every device and larger than this: worth a word.
_LARGE_BYTES = 16 * 2**20

_PARTS = ("params", "collections", "opt_state")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedArray:
    """An array of the state, and where it is.

    Attributes:
      path: Such as `params.encoder.kernel`.
      shape: Of the whole array.
      dtype: Its name.
      split: Mesh axes for each axis, such as `(None, "fsdp")`; `None` if the compiler
        decides.
      num_bytes: Of the whole array.
      num_bytes_per_device: Of the part that one device holds; the whole if the compiler
        decides.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    split: tuple[Any, ...] | None
    num_bytes: int
    num_bytes_per_device: int

    @property
    def is_split(self) -> bool:
        """Whether a device holds less than all of it."""
        return self.num_bytes_per_device < self.num_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardingTable:
    """All arrays of a state; prints as a table.

    Attributes:
      arrays: Of parameters, collections and optimizer state, in this order.
      num_devices: Of all processes.
      mesh: Mesh axis -> number of devices; empty if there is no mesh.
      placements: The same arrays by the devices that hold their blocks.
    """

    arrays: tuple[PlacedArray, ...]
    num_devices: int
    mesh: Mapping[str, int]
    placements: tuple[_placements.Placement, ...]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Returns part of the state -> its bytes, and those on each device."""
        found = {}
        for part in _PARTS:
            arrays = [a for a in self.arrays if a.path.split(".")[0] == part]
            if arrays:
                found[part] = (
                    sum(a.num_bytes for a in arrays),
                    sum(a.num_bytes_per_device for a in arrays),
                )
        return found

    def large_and_whole(self) -> list[PlacedArray]:
        """Returns the large arrays of which every device of several holds all."""
        if self.num_devices == 1:
            return []
        return [
            a
            for a in self.arrays
            if not a.is_split and a.split is not None and a.num_bytes > _LARGE_BYTES
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns what JSON can hold: the attributes, and `totals`."""
        totals = {
            part: {"num_bytes": whole, "num_bytes_per_device": per_device}
            for part, (whole, per_device) in self.totals().items()
        }
        return {
            "num_devices": self.num_devices,
            "mesh": dict(self.mesh),
            "totals": totals,
            "arrays": [dataclasses.asdict(a) for a in self.arrays],
            "placements": [dataclasses.asdict(p) for p in self.placements],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardingTable:
        """Returns what `as_dict` was made of; also if JSON was in between."""
        return cls(
            arrays=tuple(map(_array_from_dict, values["arrays"])),
            num_devices=values["num_devices"],
            mesh=values["mesh"],
            placements=tuple(
                map(_placements.Placement.from_dict, values["placements"])
            ),
        )

    def picture(self) -> _svg.Picture:
        """Returns a picture of which device holds what."""
        return _placement_picture.draw(self.placements, self.num_devices, self.mesh)

    def _repr_html_(self) -> str:
        return f"{self.picture().svg}<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        head = ("array", "shape", "dtype", "split over", "size", "per device")
        rows = [head, *map(_row, self.arrays)]
        axes = ", ".join(f"{name}={size}" for name, size in self.mesh.items())
        lines = [
            f"{self.num_devices} device{'s' * (self.num_devices > 1)}"
            f"{f': {axes}' if axes else ''}",
            text_tables.aligned(rows, right=(4, 5)),
            "",
        ]
        for part, (whole, per_device) in self.totals().items():
            size, share = map(text_tables.format_bytes, (whole, per_device))
            lines.append(f"{part}: {size}, on each device {share}")
        if self.num_devices > 1:
            lines += ["", "Which device holds which block:"]
            lines += [str(placement) for placement in self.placements]
        lines += [
            f"Every device holds all of `{a.path}`, {text_tables.format_bytes(a.num_bytes)}: "
            "a mesh axis `fsdp`, or a rule for it, splits it."
            for a in self.large_and_whole()
        ]
        return "\n".join(lines)


def sharding_table(state: TrainState) -> ShardingTable:
    """Returns where each array of a state is.

    Args:
      state: Arrays, or specs such as `trainer.state_specs`; nothing is computed.

    Example:

    ```python
    print(kd.inspect.sharding_table(trainer.state_specs))
    ```
    """
    leaves = list(_leaves(state))
    arrays = tuple(_placed(path, leaf) for path, leaf in leaves)
    meshes = [
        leaf.sharding.mesh
        for _, leaf in leaves
        if isinstance(leaf.sharding, NamedSharding)
    ]
    # The finest one: published shardings use a mesh of a single axis beside it.
    mesh = max(meshes, key=lambda m: len(m.axis_names), default=None)
    return ShardingTable(
        arrays=arrays,
        num_devices=jax.device_count() if mesh is None else mesh.size,
        mesh={} if mesh is None else {str(k): v for k, v in mesh.shape.items()},
        placements=_placements.placements(
            (a.path, leaf, _label(a), a.num_bytes, a.num_bytes_per_device)
            for a, (_, leaf) in zip(arrays, leaves, strict=True)
        ),
    )


def bytes_of(spec: Any) -> tuple[int, int]:
    """Returns the bytes of an array, and those of the part that a device holds."""
    is_key = jnp.issubdtype(spec.dtype, jax.dtypes.extended)
    itemsize = spec.dtype.itemsize if is_key else np.dtype(spec.dtype).itemsize
    shape = part = tuple(spec.shape)
    if getattr(spec, "sharding", None) is not None:
        part = spec.sharding.shard_shape(shape)
    return math.prod(shape) * itemsize, math.prod(part) * itemsize


def describe_split(leaf: Any) -> str:
    """Returns over which axes of a mesh an array is split, such as `fsdp, -`."""
    return _split(_placed("", leaf))


def _leaves(state: TrainState) -> Iterator[tuple[str, Any]]:
    for part in _PARTS:
        tree: PyTree = getattr(state, part)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            yield (f"{part}.{name}" if name else part), leaf


def _placed(path: str, leaf: Any) -> PlacedArray:
    sharding, shape = getattr(leaf, "sharding", None), tuple(leaf.shape)
    num_bytes, per_device = bytes_of(leaf)
    return PlacedArray(
        path=path,
        shape=shape,
        dtype=str(leaf.dtype),
        split=tuple(sharding.spec) if isinstance(sharding, NamedSharding) else None,
        num_bytes=num_bytes,
        num_bytes_per_device=per_device,
    )


def _array_from_dict(values: Mapping[str, Any]) -> PlacedArray:
    split = values["split"]
    if split is not None:
        split = tuple(tuple(e) if isinstance(e, list) else e for e in split)
    return PlacedArray(**{**values, "shape": tuple(values["shape"]), "split": split})


def _label(array: PlacedArray) -> str:
    """Returns how an array is split, whichever of its axes they are."""
    if array.split is None or not array.is_split:
        return _split(array)
    return " x ".join(_axes(e) for e in array.split if e is not None)


def _row(array: PlacedArray) -> tuple[str, ...]:
    return (
        array.path,
        text_tables.format_shape(array.shape),
        array.dtype,
        _split(array),
        text_tables.format_bytes(array.num_bytes),
        text_tables.format_bytes(array.num_bytes_per_device),
    )


def _split(array: PlacedArray) -> str:
    if array.split is None:
        return "the compiler decides"
    if not array.is_split:
        return "whole"
    entries = [*array.split, *[None] * (len(array.shape) - len(array.split))]
    return ", ".join("-" if e is None else _axes(e) for e in entries)


def _axes(entry: Any) -> str:
    return entry if isinstance(entry, str) else "*".join(entry)
