"""`NamedLeaves`: the leaves of a pytree by name, some of them left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.export._errors import ExportError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedLeaves:
    """Names and specs of the leaves of a pytree, such as parameters, or a batch.

    Attributes:
      structure: Of the pytree.
      specs: Name -> shape and dtype, in the order of the leaves.
      kept: Names of those that a program reads.
    """

    structure: Any
    specs: Mapping[str, jax.ShapeDtypeStruct]
    kept: Collection[str]

    @classmethod
    def of(cls, tree: Any, name_of: Callable[[tuple[Any, ...]], str]) -> Self:
        """Returns the leaves of a tree of arrays or specs; all are kept.

        Raises:
          ExportError: If two leaves have the same name.
        """
        specs: dict[str, jax.ShapeDtypeStruct] = {}
        leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
        for path, leaf in leaves:
            name = name_of(path)
            if name in specs:
                raise ExportError(
                    f"Two arrays would both be called {name!r}: rename one of the keys "
                    f"at {jax.tree_util.keystr(path)}."
                )
            specs[name] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        return cls(structure=structure, specs=specs, kept=tuple(specs))

    @property
    def kept_specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of what is kept, in the order of the leaves."""
        return {name: spec for name, spec in self.specs.items() if name in self.kept}

    def keep(self, names: Collection[str]) -> Self:
        """Returns a copy that keeps only these names."""
        return dataclasses.replace(self, kept=tuple(names))

    def flatten(self, tree: Any) -> dict[str, Any]:
        """Returns name -> leaf of a tree of this structure, without what is left out."""
        leaves = zip(self.specs, self.structure.flatten_up_to(tree), strict=True)
        return {name: leaf for name, leaf in leaves if name in self.kept}

    def unflatten(self, arrays: Mapping[str, Any]) -> Any:
        """Returns the tree; zeros, which nothing reads, are in place of what is left out."""
        return self.structure.unflatten(
            arrays[name] if name in self.kept else jnp.zeros(spec.shape, spec.dtype)
            for name, spec in self.specs.items()
        )


def dotted(path: tuple[Any, ...]) -> str:
    """Returns a name as checkpoints have it: `params.dense.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def keyed(path: tuple[Any, ...]) -> str:
    """Returns a name as a key has it: `views[0].image`."""
    return str(kontext.Path.from_jax_path(path))
