"""`Mesh`: a sharding strategy by named axes and rules."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Self

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kauldron._base import errors, root_refs
from kauldron.ktyping import PyTree
from kauldron.sharding import _activations, _axis_rules, _mesh, _placement
from kauldron.sharding._axis_rules import MeshAxes, MeshError
from kauldron.sharding._by_rules import ByRules, NamedAxes, whole_arrays
from kauldron.sharding._placement import ShardingTree
from kauldron.sharding._strategy import ShardingStrategy
from kauldron.sharding.state import TrainState

# Axes that mean something without further rules.
_AXES = ("data", "fsdp", "tensor", "expert", "sequence", "stage")

# Whole on every device and at least this large: worth a word.
_LARGE_BYTES = 16 * 2**20

# A part that follows from the axes and rules.
_BY_RULES = "by_rules"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(ShardingStrategy, root_refs.UpdateFromRootCfg):
    """Splits batch, parameters and activations over devices on named axes.

    With an axis `fsdp`, each large parameter is split along its largest axis (ZeRO-3);
    with `tensor`, parameters are split along the axes that their modules name `heads`,
    `kv`, `mlp` or `vocab`, and with `expert` along `expert`; see
    `kd.nn.with_logical_axes`. With `sequence`, activations between blocks are split along
    their tokens, see `with_logical_constraint`; with `stage`, layers that are scanned are
    a pipeline of stages. The batch is split over `batch_axes`. A rule for a path, which
    models without names need, wins. Collections (averages, frozen parts) go by the same
    rules, and arrays of the optimizer state by those of their parameter.

    Attributes:
      axes: Name -> number of devices; -1 for those that are left. The product is the
        number of all devices.
      rules: Logical axis -> mesh axis (or several, or `None` for none), besides and
        before the ones above.
      paths: Glob of parameters -> mesh axis of each of their axes, such as
        `{'**.attention.*.kernel': (None, 'tensor')}`; the first that matches counts. It
        is also for variables of collections, whose paths begin with the collection.
      batch_axes: Axes over which the batch is split; those that the mesh does not have
        are left out.
      min_size_to_shard_mb: Arrays up to this size (MiB) are not split over `fsdp`.
      batch: As in `ShardingStrategy`, in place of what follows from the above; `params`
        `collections` and `aux` likewise.
      num_microbatches: Parts of the batch that are on their way through the stages of a
        pipeline; by default one for each stage. With `m` parts and `s` stages, a device
        waits for `s - 1` of `m + s - 1` ticks.

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
    collections: ShardingTree = _BY_RULES
    aux: ShardingTree = _BY_RULES
    num_microbatches: int | None = None
    # What the modules name; the trainer that the strategy is part of says.
    named: Callable[[], NamedAxes] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        sizes = _axis_rules.mesh_sizes(self.axes, jax.device_count())
        for name, axes in self.rules.items():
            _check_axes(axes, sizes, f"rules[{name!r}]")
        for glob, spec in self.paths.items():
            for axes in spec:
                _check_axes(axes, sizes, f"paths[{glob!r}]")
        self._check_numbers(sizes)
        mesh = _build(tuple(sizes.items()))
        object.__setattr__(self, "_mesh", mesh)
        made = {
            "batch": NamedSharding(
                mesh, _spec([a for a in self._batch_axes if sizes[a] > 1])
            ),
            "aux": NamedSharding(mesh, PartitionSpec()),
            "params": self._by_rules("params"),
            "collections": self._by_rules("collections"),
        }
        for name, value in made.items():
            given = getattr(self, name)
            if (isinstance(given, str) and given == _BY_RULES) or isinstance(
                given, ByRules
            ):
                object.__setattr__(self, name, value)

    def _check_numbers(self, sizes: Mapping[str, int]) -> None:
        _axis_rules.check_min_size(self.min_size_to_shard_mb)
        if _activations.BATCH in self.rules:
            raise MeshError(
                "What splits the batch is said by `batch_axes`: got `rules['batch']`. "
                f"Write `batch_axes={_axis_rules.as_tuple(self.rules['batch'])}`."
            )
        number = self.num_microbatches
        if number is None:
            return
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise MeshError(
                f"`num_microbatches` must be >= 1, or None: got {number!r}."
            )
        if self._stage_axis is None:
            raise MeshError(
                f"`num_microbatches={number}` is for a pipeline of stages, and the mesh "
                f"{dict(sizes)} has no axis `stage`. Add it, or leave the number out."
            )

    @classmethod
    def from_name(cls, name: str) -> Self:
        """Returns the mesh of a text such as `'fsdp'`, `'tensor=2'`, `'fsdp,tensor=2'`.

        An axis without a number takes the devices that are left; if every axis has one,
        `data` does.

        Raises:
          MeshError: If it is no such text, or an axis has no default rule.
        """
        axes: dict[str, int] = {}
        if not name.strip():
            raise MeshError(
                "`sharding=''` names no mesh: write 'data', 'fsdp' or 'fsdp,tensor=2'. "
                "Without `cfg.sharding`, every device holds all parameters."
            )
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

    def set_global_mesh(self) -> AbstractContextManager[None]:
        if self.mesh.size == 1:
            return nullcontext()
        return _activations.using_layout(self._layout)

    @functools.cached_property
    def _layout(self) -> _activations.Layout:
        return _activations.Layout(
            mesh=self.mesh,
            rules={**self._rules.rules, _activations.BATCH: self._batch_axes},
            stage_axis=self._stage_axis,
            num_microbatches=self.num_microbatches,
        )

    def check_batch(self, specs: PyTree) -> None:
        super().check_batch(specs)
        number = self.num_microbatches
        if number is not None:
            _placement.check_parts(specs, self.batch, number)

    def remarks(self, state: TrainState) -> list[str]:
        if not isinstance(self.params, ByRules):  # the user has placed them
            return []
        only = {"data", *self._batch_axes} - {self._rules.fully_sharded}
        return whole_arrays(
            {"params": state.params, "collections": state.collections},
            self.mesh,
            batch_only=(*only, "sequence"),
            min_bytes=_LARGE_BYTES,
            said=tuple(self.paths),
        )

    def update_from_root_cfg(self, root: Any) -> Self:
        """Returns the strategy with what the modules of the root's model name."""

        def named() -> NamedAxes:
            return NamedAxes(root.logical_axes, root.named_activations)

        return dataclasses.replace(self, named=named)

    @property
    def _batch_axes(self) -> tuple[str, ...]:
        return tuple(axis for axis in self.batch_axes if axis in self._sizes)

    @property
    def _stage_axis(self) -> str | None:
        axes = _axis_rules.as_tuple(self._rules.rules.get("layers"))
        return axes[0] if len(axes) == 1 else None

    @property
    def _sizes(self) -> dict[str, int]:
        return _axis_rules.mesh_sizes(self.axes, jax.device_count())

    @property
    def _rules(self) -> _axis_rules.AxisRules:
        sizes = self._sizes
        defaults = {k: v for k, v in _axis_rules.DEFAULT_RULES.items() if v in sizes}
        return _axis_rules.AxisRules(
            sizes=sizes,
            rules={**defaults, **self.rules},
            given=tuple(self.rules),
            fully_sharded="fsdp" if sizes.get("fsdp", 1) > 1 else None,
            min_bytes=int(self.min_size_to_shard_mb * 2**20),
        )

    def _by_rules(self, part: Literal["params", "collections"]) -> ByRules:
        return ByRules(
            mesh=self.mesh,
            rules=self._rules,
            paths=self.paths,
            batch_axes=self.batch_axes,
            part=part,
            named=self.named,
        )


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


def _spec(axes: Sequence[str]) -> PartitionSpec:
    return PartitionSpec(_axis_rules.as_entry(axes)) if axes else PartitionSpec()


def _build(sizes: tuple[tuple[str, int], ...]) -> jax.sharding.Mesh:
    """Returns the mesh over all devices, in the order of `DEVICES_MESH`.

    One program may then hold arrays that are placed on either mesh.
    """
    devices = _mesh.devices_mesh().devices.reshape([size for _, size in sizes])
    names = tuple(name for name, _ in sizes)
    types = (AxisType.Auto,) * len(names)
    return jax.sharding.Mesh(devices, names, axis_types=types)
