"""Reading arrays: which there are, and any selection of them.

A leaf is named by its path on disk, the parts joined by dots: `params.dense.kernel`,
`opt_state.0.mu.dense.kernel`. Orbax takes a second to import, so it is imported when
something is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath


def path_str(path: Any) -> str:
    """Returns the name of a leaf from its path in a pytree."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def flatten(tree: Any) -> dict[str, Any]:
    """Returns `{name: leaf}` of a pytree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_str(path): leaf for path, leaf in leaves}


def as_saved(leaf: Any) -> Any:
    """Returns what is on disk of a leaf: of typed random keys, the spec of their data."""
    if not _is_key(leaf):
        return leaf
    data = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)


def _is_key(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def metadata(item_dir: epath.Path) -> Any:
    """Returns the tree of an item, its leaves with `shape` and `dtype`."""
    import orbax.checkpoint as ocp

    return ocp.StandardCheckpointHandler().metadata(item_dir).tree


def read(
    item_dir: epath.Path, wanted: Mapping[str, jax.ShapeDtypeStruct | None]
) -> dict[str, Any]:
    """Reads some leaves of an item; the others are not touched.

    Args:
      item_dir: Folder of the item.
      wanted: Name -> the array to make, with its dtype and sharding; `None` makes a
        NumPy array as it was saved.
    """
    import orbax.checkpoint as ocp

    def item_of(path: Any, leaf: Any) -> Any:
        name = path_str(path)
        if name not in wanted:
            return ocp.PLACEHOLDER
        spec = wanted[name]
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if spec is None else spec

    def args_of(path: Any, leaf: Any) -> ocp.RestoreArgs:
        spec = wanted.get(path_str(path))
        if spec is None:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(
            dtype=spec.dtype, sharding=spec.sharding, global_shape=tuple(spec.shape)
        )

    tree = metadata(item_dir)
    restored = ocp.PyTreeCheckpointHandler().restore(
        item_dir,
        args=ocp.args.PyTreeRestore(
            item=jax.tree_util.tree_map_with_path(item_of, tree),
            restore_args=jax.tree_util.tree_map_with_path(args_of, tree),
        ),
    )
    found = flatten(restored)
    return {name: found[name] for name in wanted}


def read_as(specs: Any, item_dir: epath.Path) -> Any:
    """Reads the leaves that `specs` has, into a tree of that structure."""
    values = read(item_dir, flatten(specs))
    return jax.tree_util.tree_map_with_path(
        lambda path, _: values[path_str(path)], specs
    )


def read_tree(item_dir: epath.Path) -> Any:
    """Reads a whole item, as nested dicts and lists of NumPy arrays."""
    tree = metadata(item_dir)
    values = read(item_dir, dict.fromkeys(flatten(tree)))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: values[path_str(path)], tree
    )


def prefixes(names: Iterable[str]) -> list[str]:
    """Returns the names of all leaves and of the subtrees they are in."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        found |= dict.fromkeys(".".join(parts[:i]) for i in range(1, len(parts) + 1))
    return list(found)
