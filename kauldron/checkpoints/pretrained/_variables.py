"""Variables of a model by name: `params.head.kernel`, `batch_stats.stem.norm.mean`.

The same names are used in a train state, whose batch statistics are in `collections`, and
in the variables that `model.init` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from kauldron.checkpoints import _arrays, _names
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState

_COLLECTIONS = "collections."


def named(tree: PyTree, into: str = "") -> dict[str, Any]:
    """Returns `{name: leaf}` of a model, parameters first.

    Args:
      tree: A train state, or variables.
      into: Path of a sub-model; the others are left out, and so is it in the names.
    """
    if isinstance(tree, TrainState):
        tree = {"params": tree.params, **tree.collections}
    found = {}
    for name, leaf in _arrays.flatten(tree).items():
        collection, _, path = name.partition(".")
        if not into:
            found[name] = leaf
        elif path.startswith(f"{into}."):
            found[f"{collection}.{path.removeprefix(f'{into}.')}"] = leaf
    is_other = {name: not name.startswith("params.") for name in found}
    return {name: found[name] for name in sorted(found, key=is_other.__getitem__)}


def replaced(tree: PyTree, values: Mapping[str, Any], into: str = "") -> Any:
    """Returns the tree with other values, by the names that `named` gives."""
    by_name = {}
    for name, value in values.items():
        collection, _, path = name.partition(".")
        by_name[f"{collection}.{into}.{path}" if into else name] = value
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: by_name.get(
            _names.name_of(path).removeprefix(_COLLECTIONS), leaf
        ),
        tree,
    )
