"""From the parameters and collections of a model to their shardings, by rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kauldron._base import errors, text_tables
from kauldron.kontext import leaf_globs
from kauldron.ktyping import PyTree
from kauldron.sharding import _axis_rules
from kauldron.sharding._activations import NamedActivation
from kauldron.sharding._axis_rules import MeshAxes, MeshError

_Names: TypeAlias = dict[str, tuple[str | None, ...]]


@dataclasses.dataclass(frozen=True)
class NamedAxes:
    """What the modules of a model have named.

    Attributes:
      variables: Collection (`params` among them) -> tree with a `PartitionSpec` of
        logical names for each variable.
      activations: Those of one forward pass.
    """

    variables: Mapping[str, PyTree]
    activations: Sequence[NamedActivation] = ()

    @property
    def known(self) -> set[str]:
        """All names."""
        specs = [*_flat(self.variables).values(), *(a.names for a in self.activations)]
        return {name for spec in specs for name in spec if name}


@dataclasses.dataclass(frozen=True)
class ByRules:
    """A rule of a sharding tree: from variables to their shardings.

    Attributes:
      mesh: The devices.
      rules: For names of axes, and for large arrays.
      paths: Glob -> mesh axis of each axis of the variables it matches.
      batch_axes: Mesh axes that split the batch; they need not split variables.
      part: Which variables these are. Paths of collections begin with their names.
      named: What the model has named; `None` if nobody knows.
    """

    mesh: jax.sharding.Mesh
    rules: _axis_rules.AxisRules
    paths: Mapping[str, Sequence[MeshAxes]]
    batch_axes: Sequence[str]
    part: Literal["params", "collections"]
    named: Callable[[], NamedAxes] | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __call__(self, tree: PyTree) -> PyTree:
        found = jax.tree_util.tree_leaves_with_path(tree)
        paths = [_dotted(path) for path, _ in found]
        named = NamedAxes({}) if self.named is None else self.named()
        if self.part == "params":
            self._check_rules(named)
        owners = self._owners(paths, named)
        names_of = self._names(named)
        specs = [
            self._spec(self._variable(path, leaf, names_of), owner)
            for path, (_, leaf), owner in zip(paths, found, owners, strict=True)
        ]
        if self.part == "params":
            self._check_use(specs, named)
        return jax.tree.structure(tree).unflatten(
            NamedSharding(self.mesh, spec) for spec in specs
        )

    def _check_rules(self, named: NamedAxes) -> None:
        """Raises for a rule of the user that is for nothing, or an uneven activation."""
        if self.named is None:
            return
        known = named.known
        for name in self.rules.given:
            if name not in known:
                raise MeshError(
                    f"`rules[{name!r}]` is for an axis that no parameter and no activation "
                    f"has: there are {sorted(known)}.{errors.did_you_mean(name, known)} "
                    "Models whose modules name no axes are split by `paths`."
                )
        for activation in dict.fromkeys(named.activations):
            self.rules.check_activation(activation.shape, activation.names)

    def _check_use(self, specs: Sequence[PartitionSpec], named: NamedAxes) -> None:
        """Raises if an axis of several devices splits nothing at all."""
        used = {a for spec in specs for e in spec for a in _axis_rules.as_tuple(e)}
        # Nobody knows the activations, and which parameters are layers, without a model.
        names = ("layers", "sequence") if self.named is None else named.known
        for name in names:
            used.update(_axis_rules.as_tuple(self.rules.rules.get(name)))
        for axis, size in self.mesh.shape.items():
            if size > 1 and axis not in used and axis not in self.batch_axes:
                raise MeshError(
                    f"The mesh axis {axis!r} of {size} devices splits no parameter and no "
                    f"activation: the modules name {_list_axes(named.known)}. "
                    f"{self._advice(axis)}"
                )

    def _advice(self, axis: str) -> str:
        if self.rules.rules.get("layers") == axis:
            return (
                "Stages are made of layers that are scanned: `scan_layers=True` of "
                "`kd.nn.CausalLM`, `scan=True` of `kd.nn.VitEncoder`. Or give these "
                "devices to `data` or `fsdp`."
            )
        return (
            f"Split them by `paths={{'**.kernel': (None, {axis!r})}}` or by `rules`, or "
            "give these devices to `data` or `fsdp`."
        )

    def _owners(self, paths: list[str], named: NamedAxes) -> list[str | None]:
        """Returns which glob of `paths` each variable goes by."""
        owners: list[str | None] = [None] * len(paths)
        others = [path for path in _flat(named.variables) if path not in paths]
        for glob in self.paths:
            on = leaf_globs.matches(glob, paths)
            is_known = any(on) or any(leaf_globs.matches(glob, others))
            if self.part == "params" and not is_known:
                raise MeshError(leaf_globs.no_match(f"glob {glob!r}", glob, paths))
            owners = [
                owner or (glob if is_on else None)
                for owner, is_on in zip(owners, on, strict=True)
            ]
        return owners

    def _names(self, named: NamedAxes) -> _Names:
        variables = dict(named.variables)
        params = _flat(variables.pop("params", {}))
        return params if self.part == "params" else params | _flat(variables)

    def _variable(self, path: str, leaf: Any, names_of: _Names) -> _axis_rules.Variable:
        shape = tuple(np.shape(leaf))
        # Frozen parts and averages have the path of a parameter below that of theirs.
        known = (names_of.get(end, ()) for end in _ends(path))
        names = next((n for n in known if len(n) == len(shape)), ())
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
        itemsize = 0 if is_key else np.dtype(leaf.dtype).itemsize
        num_bytes = int(np.prod(shape)) * itemsize
        return _axis_rules.Variable(f"{self.part}.{path}", shape, num_bytes, names)

    def _spec(self, variable: _axis_rules.Variable, glob: str | None) -> PartitionSpec:
        if glob is not None:
            return self.rules.spec_by_path(variable, glob, self.paths[glob])
        return self.rules.spec_by_names(variable)


def whole_arrays(
    tree: PyTree,
    mesh: jax.sharding.Mesh,
    *,
    batch_only: Sequence[str],
    min_bytes: int,
    said: Sequence[str],
) -> list[str]:
    """Returns what to tell of large arrays that every device holds, though they divide.

    Args:
      tree: Arrays, or specs, with shardings; dotted paths are those of a run's state.
      mesh: The devices.
      batch_only: Mesh axes that are not meant to split arrays of the state.
      min_bytes: Smaller arrays are not worth a word.
      said: Globs of arrays that the user has spoken about.
    """
    axes = {k: v for k, v in mesh.shape.items() if v > 1 and k not in batch_only}
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        sharding = leaf.sharding
        if not isinstance(sharding, NamedSharding) or not sharding.is_fully_replicated:
            continue
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            continue
        num_bytes = int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize
        fitting = [
            (number, axis)
            for number, size in enumerate(leaf.shape)
            for axis, num_devices in axes.items()
            if size % num_devices == 0
        ]
        name = _dotted(path)
        short = name.partition(".")[2]
        is_said = any(any(leaf_globs.matches(glob, [short])) for glob in said)
        if num_bytes < min_bytes or not fitting or is_said:
            continue
        number, axis = fitting[0]
        entry = ", ".join([*["None"] * number, repr(axis)]) + (
            "," if not number else ""
        )
        lines.append(
            f"Every device holds all of `{name}`, {text_tables.format_bytes(num_bytes)}, "
            f"although axis {number} of {tuple(leaf.shape)} divides over {axis!r}: "
            f"`cfg.sharding.paths = {{{short!r}: ({entry})}}` splits it."
        )
    return lines


def _flat(tree: PyTree) -> _Names:
    leaves = jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda x: isinstance(x, PartitionSpec)
    )
    return {_dotted(path): tuple(spec) for path, spec in leaves}


def _ends(path: str) -> Iterator[str]:
    """Yields the path, then what is left of it without its first names."""
    while path:
        yield path
        path = path.partition(".")[2]


def _dotted(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _list_axes(names: Collection[str]) -> str:
    return f"the axes {sorted(names)}" if names else "no axes"
