"""Rules from the axes of variables and activations to the axes of a mesh."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from jax.sharding import PartitionSpec

from kauldron._base import errors

# What an axis of an array is split over: an axis of the mesh, several, or none.
MeshAxes: TypeAlias = str | Sequence[str] | None

# Logical axis -> mesh axis, as far as the mesh has it.
DEFAULT_RULES: Mapping[str, MeshAxes] = {
    "expert": "expert",
    "heads": "tensor",
    "kv": "tensor",
    "layers": "stage",
    "mlp": "tensor",
    "sequence": "sequence",
    "vocab": "tensor",
}


class MeshError(errors.UserError, ValueError):
    """A mesh that the devices do not fill, or a rule that does not fit an array."""


@dataclasses.dataclass(frozen=True)
class Variable:
    """A parameter, or a variable of another collection, to place.

    Attributes:
      path: Such as `params.encoder.dense.kernel`.
      shape: Its shape.
      num_bytes: How large it is.
      names: Logical name of each axis; empty if nothing is known.
    """

    path: str
    shape: tuple[int, ...]
    num_bytes: int
    names: tuple[str | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class AxisRules:
    """Decides how variables and activations are split.

    Attributes:
      sizes: Mesh axis -> number of devices.
      rules: Logical axis -> mesh axes, all that count.
      given: Logical axes that the user has given a rule for.
      fully_sharded: Mesh axis over which each large parameter is split along the largest
        of its axes that divides and is not split yet; `None` for no such axis.
      min_bytes: Parameters up to this size are not split over `fully_sharded`.
    """

    sizes: Mapping[str, int]
    rules: Mapping[str, MeshAxes]
    given: tuple[str, ...]
    fully_sharded: str | None
    min_bytes: int

    def spec_by_names(self, variable: Variable) -> PartitionSpec:
        """Returns how a parameter is split according to the names of its axes.

        Raises:
          MeshError: If an axis does not divide.
        """
        used: set[str] = set()
        entries: list[MeshAxes] = []
        for size, name in zip(variable.shape, variable.names, strict=False):
            axes = [a for a in as_tuple(self.rules.get(name or "")) if a not in used]
            self._check_divides(variable, size, axes, f"axis {name!r}")
            used.update(axes)
            entries.append(self._entry(axes))
        entries += [None] * (len(variable.shape) - len(entries))
        return self._fully_shard(variable, entries, used)

    def spec_by_path(
        self, variable: Variable, glob: str, spec: Sequence[MeshAxes]
    ) -> PartitionSpec:
        """Returns how a parameter is split that a glob names.

        Raises:
          MeshError: If an axis does not divide, or there is one too many.
        """
        if len(spec) > len(variable.shape):
            raise MeshError(
                f"`paths[{glob!r}]` splits {len(spec)} axes, but `{variable.path}` has "
                f"{len(variable.shape)} (shape {variable.shape})."
            )
        for number, (size, axes) in enumerate(zip(variable.shape, spec, strict=False)):
            self._check_divides(
                variable, size, as_tuple(axes), f"axis {number} (`paths[{glob!r}]`)"
            )
        return PartitionSpec(*(self._entry(as_tuple(axes)) for axes in spec))

    def _entry(self, axes: Sequence[str]) -> MeshAxes:
        """Returns an entry without axes of one device.

        Programs give arrays back without them: the second step would be compiled again.
        """
        return as_entry([axis for axis in axes if self.sizes[axis] > 1])

    def _fully_shard(
        self, variable: Variable, entries: list[MeshAxes], used: set[str]
    ) -> PartitionSpec:
        axis = self.fully_sharded
        if (
            axis is not None
            and axis not in used
            and variable.num_bytes > self.min_bytes
        ):
            free = [
                i
                for i, (size, entry) in enumerate(
                    zip(variable.shape, entries, strict=True)
                )
                if entry is None
                and size % self.sizes[axis] == 0
                # A scan takes one of them at a time: each would be elsewhere.
                and variable.names[i : i + 1] != ("layers",)
            ]
            if free:
                entries[max(free, key=lambda i: variable.shape[i])] = axis
        return PartitionSpec(*entries)

    def check_activation(
        self, shape: tuple[int, ...], names: tuple[str | None, ...]
    ) -> None:
        """Raises if an activation of the training batch does not divide.

        Args:
          shape: Its shape.
          names: Of its axes. The first may be that of the batch, which is no concern here.

        Raises:
          MeshError: If an axis does not divide.
        """
        for size, name in zip(shape, names, strict=True):
            axes = as_tuple(self.rules.get(name)) if name else ()
            self._check(size, axes, f"An activation has shape {shape}: axis {name!r}")

    def _check_divides(
        self, variable: Variable, size: int, axes: Sequence[str], what: str
    ) -> None:
        where = f"`{variable.path}` has shape {variable.shape}: {what}"
        self._check(size, axes, where)

    def _check(self, size: int, axes: Sequence[str], where: str) -> None:
        num_shards = math.prod(self.sizes[axis] for axis in axes)
        if size % num_shards:
            fitting = [n for n in range(1, num_shards) if size % n == 0]
            raise MeshError(
                f"{where} has {size} entries, which do not divide over the {num_shards} "
                f"devices of {' and '.join(map(repr, axes))}. Use a mesh axis of "
                f"{' or '.join(map(str, fitting[-2:]))} devices, or leave this axis whole "
                "by a rule that says None."
            )


def check_min_size(min_size_mb: float) -> None:
    """Raises `MeshError` unless it is a size in MiB."""
    if not (isinstance(min_size_mb, int | float) and 0 <= min_size_mb < math.inf):
        raise MeshError(
            "`min_size_to_shard_mb` must be a size in MiB, >= 0: got "
            f"{min_size_mb!r}. With 0, everything that divides is split."
        )


def as_tuple(axes: MeshAxes) -> tuple[str, ...]:
    """Returns the mesh axes of an entry of a rule."""
    if axes is None:
        return ()
    return (axes,) if isinstance(axes, str) else tuple(axes)


def as_entry(axes: Sequence[str]) -> MeshAxes:
    """Returns mesh axes as an entry of a `PartitionSpec`."""
    return None if not axes else axes[0] if len(axes) == 1 else tuple(axes)


def mesh_sizes(axes: Mapping[str, int], num_devices: int) -> dict[str, int]:
    """Returns how many devices each axis of a mesh has, -1 filled in.

    Raises:
      MeshError: If the axes do not fill the devices.
    """
    for name, size in axes.items():
        if (
            not isinstance(size, int)
            or isinstance(size, bool)
            or size == 0
            or size < -1
        ):
            raise MeshError(
                f"`axes[{name!r}]` must be a number of devices, or -1 for those that are "
                f"left: got {size!r}."
            )
    open_axes = [name for name, size in axes.items() if size == -1]
    if len(open_axes) > 1:
        raise MeshError(f"Only one axis can be -1: got {dict(axes)}.")
    given = math.prod(size for size in axes.values() if size != -1)
    rest, too_many = divmod(num_devices, given)
    if too_many or not rest or (rest > 1 and not open_axes):
        divisors = [n for n in range(1, num_devices + 1) if num_devices % n == 0]
        raise MeshError(
            f"The mesh {dict(axes)} has {given} devices{' or a multiple' if open_axes else ''}"
            f", but there are {num_devices}. Sizes whose product is {num_devices} fit: "
            f"each of {', '.join(map(str, divisors))}; -1 takes what is left. With "
            "`--cfg.sharding=data`, or `fsdp`, a run continues or is looked at on any "
            "number of devices."
        )
    return {name: rest if size == -1 else size for name, size in axes.items()}
