"""Parameter ownership: which loss group a parameter belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from kauldron import optim
from kauldron._base import errors
from kauldron.ktyping import PyTree

_MAX_SHOWN = 8


class LossGroupError(errors.UserError, ValueError):
    """Groups that don't fit the losses or the parameters of a run."""


@dataclasses.dataclass(frozen=True)
class Owners:
    """The group of each leaf of the parameters.

    Attributes:
      names: Name of the group by leaf, `None` for what is frozen.
    """

    names: Sequence[str | None]

    @classmethod
    def of(
        cls,
        selections: Mapping[str, optim.Selection],
        frozen: str | Sequence[str],
        params: PyTree,
    ) -> Owners:
        """Finds the owners.

        Args:
          selections: Name of a group -> what it owns.
          frozen: Globs of parameters that no group owns.
          params: The parameters.

        Raises:
          NoMatchError: If a glob matches nothing.
          LossGroupError: If a parameter is in no group, or in several.
        """
        paths = optim.parameter_paths(params)
        takers: list[list[str | None]] = [[] for _ in paths]
        for name, selection in {**selections, None: frozen}.items():
            chosen = optim.selected(selection, params, of=_describe(name))
            for taken, on in zip(takers, chosen, strict=True):
                taken += [name] if on else []
        for path, taken in zip(paths, takers, strict=True):
            if len(taken) > 1:
                raise LossGroupError(
                    f"The parameter {path!r} is in {' and '.join(map(_describe, taken))}. "
                    "Each belongs to exactly one: make their `params` disjoint."
                )
        left = [p for p, taken in zip(paths, takers, strict=True) if not taken]
        if left:
            more = " and others" if len(left) > _MAX_SHOWN else ""
            raise LossGroupError(
                f"The parameters {left[:_MAX_SHOWN]}{more} are in no group of "
                "`cfg.trainstep.groups`. Add them to the `params` of one, or to "
                "`cfg.trainstep.frozen`."
            )
        return cls([taken[0] for taken in takers])

    def take(self, name: str, tree: PyTree) -> Any:
        """Returns the leaves of one group in the tree; `MaskedNode`s elsewhere."""
        leaves, structure = jax.tree.flatten(tree)
        return structure.unflatten(
            leaf if owner == name else optax.MaskedNode()
            for leaf, owner in zip(leaves, self.names, strict=True)
        )

    def put(self, name: str, tree: PyTree, part: PyTree) -> Any:
        """Returns the tree with the leaves of one group replaced."""
        leaves, structure = jax.tree.flatten(tree)
        own = iter(jax.tree.leaves(part))
        return structure.unflatten(
            next(own) if owner == name else leaf
            for leaf, owner in zip(leaves, self.names, strict=True)
        )


def _describe(name: str | None) -> str:
    return "`frozen`" if name is None else f"group {name!r}"
