"""Reading checkpointed arrays: the list of them, and any subset.

A leaf is named by its path on disk, see `_names`. Orbax takes a second to import, so it
is imported when something is read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath

from kauldron import sharding
from kauldron.checkpoints import _dtype_changes, _names
from kauldron.ktyping import Array, DType, PyTree


@dataclasses.dataclass(frozen=True)
class SavedArray:
    """The stored form of one leaf.

    Attributes:
      parts: Its path, as text.
      shape: Of the data; those of random keys have one axis more than the keys.
      dtype: Of the data.
      key_impl: Algorithm of typed random keys, `None` for everything else.
    """

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: Any
    key_impl: str | None = None


def flatten(tree: PyTree) -> dict[str, Any]:
    """Returns `{name: leaf}` of a pytree.

    Raises:
      CheckpointError: If two leaves have the same name.
    """
    return {name: leaf for name, (_, leaf) in _names.flatten_with_path(tree).items()}


def metadata(item_dir: epath.Path) -> Any:
    """Returns the tree of an item, its leaves with `shape` and `dtype`."""
    import orbax.checkpoint as ocp

    return ocp.StandardCheckpointHandler().metadata(item_dir).tree


def saved(item_dir: epath.Path, tree: PyTree = None) -> dict[str, SavedArray]:
    """Returns `{name: what is on disk}` of an item.

    Args:
      item_dir: Folder of the item.
      tree: Its `metadata`, if they have been read already.

    Raises:
      CheckpointError: If two leaves have the same name, so that one of them is lost.
    """
    impls = _key_impls(item_dir)
    return {
        name: SavedArray(
            _names.parts_of(path), tuple(leaf.shape or ()), leaf.dtype, impls.get(name)
        )
        for name, (path, leaf) in _names.flatten_with_path(
            metadata(item_dir) if tree is None else tree
        ).items()
    }


def _key_impls(item_dir: epath.Path) -> dict[str, str]:
    """Returns name -> algorithm of typed random keys, which Orbax stores separately."""
    found = {}
    folder = item_dir / "array_metadatas"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for entry in json.loads(path.read_text())["array_metadatas"]:
            array = entry["array_metadata"]
            impl = (array.get("ext_metadata") or {}).get("random_key_impl")
            if impl is not None:
                found[array["param_name"]] = impl
    return found


def read(
    item_dir: epath.Path, wanted: Mapping[str, Any], tree: PyTree = None
) -> dict[str, Any]:
    """Reads some leaves of an item; the others are not touched.

    Args:
      item_dir: Folder of the item.
      wanted: Name -> what to make: a `jax.Array` or its spec (for dtype and sharding;
        typed random keys, too), a NumPy array, a number of Python, or `None` for a NumPy
        array as it was saved. They fit what is on disk, see `_dtype_changes.mismatch`.
      tree: Its `metadata`, if they have been read already.

    Raises:
      CheckpointError: If numbers are too large for the dtype that is wanted.
    """
    import orbax.checkpoint as ocp

    tree = metadata(item_dir) if tree is None else tree
    there = flatten(tree)
    specs = {
        name: _spec_to_read(leaf, there[name].dtype) for name, leaf in wanted.items()
    }

    def item_of(path: tuple[Any, ...], leaf: Array) -> Any:
        name = _names.name_of(path)
        if name not in specs:
            return ocp.PLACEHOLDER
        spec = specs[name]
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if spec is None else spec

    def args_of(path: tuple[Any, ...], leaf: Array) -> ocp.RestoreArgs:
        del leaf
        spec = specs.get(_names.name_of(path))
        if spec is None:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.ArrayRestoreArgs(
            dtype=spec.dtype, sharding=spec.sharding, global_shape=tuple(spec.shape)
        )

    restored = ocp.PyTreeCheckpointHandler().restore(
        item_dir,
        args=ocp.args.PyTreeRestore(
            item=jax.tree_util.tree_map_with_path(item_of, tree),
            restore_args=jax.tree_util.tree_map_with_path(args_of, tree),
        ),
    )
    found = flatten(restored)
    return {name: to_leaf(found[name], leaf, name) for name, leaf in wanted.items()}


def read_as(specs: PyTree, item_dir: epath.Path, tree: PyTree = None) -> Any:
    """Reads the leaves that `specs` has, into a tree of that structure; see `read`."""
    values = read(item_dir, flatten(specs), tree)
    return _map_named(lambda name, _: values[name], specs)


def read_tree(item_dir: epath.Path) -> Any:
    """Reads a whole item, as nested dicts and lists of NumPy arrays."""
    tree = metadata(item_dir)
    values = read(item_dir, dict.fromkeys(flatten(tree)), tree)
    return _map_named(lambda name, _: values[name], tree)


def _map_named(function: Callable[[str, Any], Any], tree: PyTree) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: function(_names.name_of(path), leaf), tree
    )


def _spec_to_read(leaf: Array, dtype: DType) -> jax.ShapeDtypeStruct | None:
    """Returns what Orbax is to make of a leaf, `None` for a NumPy array."""
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return None
    data = _dtype_changes.as_saved(leaf)
    wanted = data.dtype
    if _dtype_changes.is_lossy(dtype, wanted):
        # First as it was saved, to see what does not fit. What JAX does not hold, such as
        # float64 by default, is made to fit on the host.
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            return None
        wanted = dtype
    placement = data.sharding or sharding.REPLICATED
    return jax.ShapeDtypeStruct(data.shape, wanted, sharding=placement)


def to_leaf(value: Any, leaf: Array, name: str) -> Any:
    """Returns a value that was read as the kind of thing that a leaf is.

    Args:
      value: A NumPy array, an array on devices with the leaf's sharding, or typed random
        keys, which Orbax makes of their data.
      leaf: As in `read`.
      name: For errors.
    """
    if _dtype_changes.is_key(value) and not _dtype_changes.is_key(leaf):
        value = jax.random.key_data(value)
    if leaf is None:
        return np.asarray(value)
    if isinstance(leaf, np.ndarray | np.generic):
        return _dtype_changes.cast(np.asarray(value), leaf.dtype, name=name)
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return type(leaf)(np.asarray(value).item())
    if _dtype_changes.is_key(leaf):
        if _dtype_changes.is_key(value):
            return value
        data = to_leaf(value, _dtype_changes.as_saved(leaf), name)
        return jax.random.wrap_key_data(data, impl=_dtype_changes.key_impl(leaf))
    if isinstance(value, jax.Array):
        if value.dtype == leaf.dtype:
            return value
        result = _dtype_changes.cast_on_devices(value, leaf.dtype, name=name)
        return jax.device_put(result, value.sharding)
    return place(_dtype_changes.cast(np.asarray(value), leaf.dtype, name=name), leaf)


def place(value: np.ndarray, leaf: Array) -> jax.Array:
    """Returns a host value with the sharding of a leaf."""
    return jax.make_array_from_callback(
        value.shape, leaf.sharding or sharding.REPLICATED, lambda index: value[index]
    )


def prefixes(names: Iterable[str]) -> list[str]:
    """Returns the names of all leaves and of the subtrees they are in."""
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        found |= dict.fromkeys(".".join(parts[:i]) for i in range(1, len(parts) + 1))
    return list(found)
