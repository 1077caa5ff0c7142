"""`Mesh`: a sharding strategy by named axes and rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kauldron._base import errors, root_refs
from kauldron.kontext import leaf_globs
from kauldron.ktyping import PyTree
from kauldron.sharding import _axis_rules, _mesh
from kauldron.sharding._axis_rules import MeshAxes, MeshError
from kauldron.sharding._placement import ShardingTree
from kauldron.sharding._strategy import ShardingStrategy

# Axes that mean something without further rules.
_AXES = ("data", "fsdp", "tensor", "expert")

# A part that follows from the axes and rules.
_BY_RULES = "by_rules"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(ShardingStrategy, root_refs.UpdateFromRootCfg):
    """Splits batch and parameters over devices that form a mesh with named axes.

    With an axis `fsdp`, each large parameter is split along its largest axis (ZeRO-3);
    with `tensor`, parameters are split along the axes that their modules name `heads`,
    `kv`, `mlp` or `vocab`, and with `expert` along `expert`; see
    `kd.nn.with_logical_axes`. The batch is split over `batch_axes`. A rule for a path,
    which models without names need, wins.

    Attributes:
      axes: Name -> number of devices; -1 for those that are left. The product is the
        number of all devices.
      rules: Logical axis -> mesh axis (or several, or `None` for none), besides and
        before the ones above.
      paths: Glob of parameters -> mesh axis of each of their axes, such as
        `{'**.attention.*.kernel': (None, 'tensor')}`; the first that matches counts.
      batch_axes: Axes over which the batch is split; those that the mesh does not have
        are left out.
      min_size_to_shard_mb: Parameters up to this size (MiB) are not split over `fsdp`.
      batch: As in `ShardingStrategy`, in place of what follows from the above; `params`
        and `aux` likewise.

    Raises:
      MeshError: If the axes do not fill the devices, a name is unknown, and, when the
        parameters are placed, if an axis does not divide or a glob matches nothing.

    Example:

    ```python
    mesh = kd.sharding.Mesh(axes={"data": -1, "fsdp": 4})
    assert mesh.batch.spec == jax.sharding.PartitionSpec(("data", "fsdp"))
    ```
    """

    axes: Mapping[str, int] = dataclasses.field(default_factory=lambda: {"data": -1})
    rules: Mapping[str, MeshAxes] = dataclasses.field(default_factory=dict)
    paths: Mapping[str, Sequence[MeshAxes]] = dataclasses.field(default_factory=dict)
    batch_axes: Sequence[str] = ("data", "fsdp")
    min_size_to_shard_mb: float = 0.0
    batch: ShardingTree = _BY_RULES
    params: ShardingTree = _BY_RULES
    aux: ShardingTree = _BY_RULES
    # Names of the axes of each parameter; the trainer that the strategy is part of says.
    names: Callable[[], PyTree] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        sizes = _axis_rules.mesh_sizes(self.axes, jax.device_count())
        for name, axes in self.rules.items():
            _check_axes(axes, sizes, f"rules[{name!r}]")
        for glob, spec in self.paths.items():
            for axes in spec:
                _check_axes(axes, sizes, f"paths[{glob!r}]")
        mesh = _build(tuple(sizes.items()))
        object.__setattr__(self, "_mesh", mesh)
        batch_axes = [axis for axis in self.batch_axes if axis in sizes]
        made = {
            "batch": NamedSharding(mesh, _spec(batch_axes)),
            "aux": NamedSharding(mesh, PartitionSpec()),
            "params": _ByRules(mesh=mesh, strategy=self),
        }
        for name, value in made.items():
            given = getattr(self, name)
            if (isinstance(given, str) and given == _BY_RULES) or isinstance(
                given, _ByRules
            ):
                object.__setattr__(self, name, value)

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Returns the mesh of a text such as `'fsdp'`, `'tensor=2'`, `'fsdp,tensor=2'`.

        An axis without a number takes the devices that are left; if every axis has one,
        `data` does.

        Raises:
          MeshError: If it is no such text, or an axis has no default rule.
        """
        axes: dict[str, int] = {}
        for item in name.split(","):
            axis, _, size = (part.strip() for part in item.partition("="))
            if axis not in _AXES:
                raise MeshError(
                    f"`sharding={name!r}` names the mesh axis {axis!r}: known are "
                    f"{list(_AXES)}, as in 'fsdp' or 'fsdp,tensor=2'."
                    f"{errors.did_you_mean(axis, _AXES)}"
                )
            if "=" in item and size != "-1" and not size.isdecimal():
                raise MeshError(
                    f"`sharding={name!r}`: {size!r} is no number of devices. Write "
                    f"'{axis}=2'."
                )
            if axis in axes:
                raise MeshError(f"`sharding={name!r}` names {axis!r} twice.")
            axes[axis] = int(size) if size else -1
        if -1 not in axes.values() and "data" not in axes:
            axes = {"data": -1, **axes}
        return cls(axes=axes)

    @property
    def mesh(self) -> jax.sharding.Mesh:
        """All devices, in the shape of `axes`."""
        return vars(self)["_mesh"]

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def update_from_root_cfg(self, root: Any) -> Self:
        """Returns the strategy with the names of the axes of the root's model."""
        return dataclasses.replace(self, names=lambda: root.logical_axes["params"])


def as_strategy(value: ShardingStrategy | str) -> ShardingStrategy:
    """Returns the strategy that a trainer was given, which may be the text of a mesh."""
    return Mesh.from_name(value) if isinstance(value, str) else value


def _check_axes(axes: MeshAxes, sizes: Mapping[str, int], field: str) -> None:
    for axis in _axis_rules.as_tuple(axes):
        if axis not in sizes:
            raise MeshError(
                f"`{field}` names the mesh axis {axis!r}, and there are {list(sizes)}."
                f"{errors.did_you_mean(axis, sizes)}"
            )


@dataclasses.dataclass(frozen=True)
class _ByRules:
    """From parameters to their shardings."""

    mesh: jax.sharding.Mesh
    strategy: Mesh = dataclasses.field(repr=False)

    def __call__(self, params: PyTree) -> PyTree:
        found = jax.tree_util.tree_leaves_with_path(params)
        paths = [_dotted(path) for path, _ in found]
        owners = self._owners(paths)
        names = self._names()
        specs = [
            self._spec(_param(path, leaf, names.get(path, ())), owner)
            for path, (_, leaf), owner in zip(paths, found, owners, strict=True)
        ]
        self._check_use(specs, names)
        return jax.tree.structure(params).unflatten(
            NamedSharding(self.mesh, spec) for spec in specs
        )

    def _check_use(
        self,
        specs: Sequence[PartitionSpec],
        names: Mapping[str, tuple[str | None, ...]],
    ) -> None:
        """Raises if an axis of several devices splits nothing at all."""
        used = {a for spec in specs for e in spec for a in _axis_rules.as_tuple(e)}
        for axis, size in self.mesh.shape.items():
            if size > 1 and axis not in used and axis not in self.strategy.batch_axes:
                known = sorted({n for spec in names.values() for n in spec if n})
                raise MeshError(
                    f"The mesh axis {axis!r} of {size} devices splits no parameter: "
                    f"their modules name the axes {known}. Split them by "
                    f"`paths={{'**.kernel': (None, {axis!r})}}` or by `rules`, or give "
                    "these devices to `data` or `fsdp`."
                )

    @property
    def _rules(self) -> _axis_rules.AxisRules:
        sizes = dict(self.mesh.shape)
        defaults = {k: v for k, v in _axis_rules.DEFAULT_RULES.items() if v in sizes}
        return _axis_rules.AxisRules(
            sizes=sizes,
            rules={**defaults, **self.strategy.rules},
            fully_sharded="fsdp" if "fsdp" in sizes else None,
            min_bytes=int(self.strategy.min_size_to_shard_mb * 2**20),
        )

    def _owners(self, paths: list[str]) -> list[str | None]:
        """Returns which glob of `paths` each parameter goes by."""
        owners: list[str | None] = [None] * len(paths)
        for glob in self.strategy.paths:
            found = leaf_globs.matches(glob, paths)
            if not any(found):
                raise MeshError(leaf_globs.no_match(f"glob {glob!r}", glob, paths))
            owners = [
                owner or (glob if on else None)
                for owner, on in zip(owners, found, strict=True)
            ]
        return owners

    def _names(self) -> dict[str, tuple[str | None, ...]]:
        if self.strategy.names is None:
            return {}
        leaves = jax.tree_util.tree_leaves_with_path(
            self.strategy.names(), is_leaf=lambda x: isinstance(x, PartitionSpec)
        )
        names = {_dotted(path): tuple(spec) for path, spec in leaves}
        known = {name for spec in names.values() for name in spec if name}
        for name in self.strategy.rules:
            if name not in known:
                raise MeshError(
                    f"`rules[{name!r}]` is for an axis that no parameter has: there are "
                    f"{sorted(known)}.{errors.did_you_mean(name, known)} Models whose "
                    "modules name no axes are split by `paths`."
                )
        return names

    def _spec(self, param: _axis_rules.Param, glob: str | None) -> PartitionSpec:
        if glob is not None:
            return self._rules.spec_by_path(param, glob, self.strategy.paths[glob])
        return self._rules.spec_by_names(param)


def _param(path: str, leaf: Any, names: tuple[str | None, ...]) -> _axis_rules.Param:
    shape = tuple(np.shape(leaf))
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    itemsize = 0 if is_key else np.dtype(leaf.dtype).itemsize
    return _axis_rules.Param(path, shape, int(np.prod(shape)) * itemsize, names)


def _dotted(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _spec(axes: list[str]) -> PartitionSpec:
    return PartitionSpec(_axis_rules.as_entry(axes)) if axes else PartitionSpec()


def _build(sizes: tuple[tuple[str, int], ...]) -> jax.sharding.Mesh:
    """Returns the mesh over all devices, in the order of `DEVICES_MESH`.

    One program may then hold arrays that are placed on either mesh.
    """
    devices = _mesh.devices_mesh().devices.reshape([size for _, size in sizes])
    names = tuple(name for name, _ in sizes)
    types = (AxisType.Auto,) * len(names)
    return jax.sharding.Mesh(devices, names, axis_types=types)
