"""Flattening a pytree to `{path: leaf}`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from kauldron._base import frozen_dict
from kauldron.kontext import _path


def flatten_with_path(
    pytree: object,
    *,
    prefix: str = "",
    separator: str | None = None,
    is_leaf: Callable[[Any], bool] | None = None,
) -> dict[str, Any]:
    """Returns `{path: leaf}` for every leaf of a pytree.

    Args:
      pytree: A JAX pytree; `ConfigDict`s inside are taken as dicts.
      prefix: A path put in front of every path.
      separator: Joins the parts with this text instead of writing a path: `"/"` gives
        `foo/b/0` for `foo.b[0]`.
      is_leaf: As in `jax.tree.flatten`.

    Example:

    ```python
    from kauldron import kontext

    assert kontext.flatten_with_path({"a": [1, 2]}) == {"a[0]": 1, "a[1]": 2}
    ```
    """
    import jax

    frozen_dict.register_pytree()
    leaves, _ = jax.tree_util.tree_flatten_with_path(_as_dicts(pytree), is_leaf)
    flat = {}
    for jax_path, leaf in leaves:
        path = _path.Path.from_jax_path(jax_path)
        if separator is None:
            flat[str(_path.Path.from_str(prefix) + path)] = leaf
        else:
            start = [prefix] if prefix else []
            flat[separator.join([*start, *map(str, path)])] = leaf
    return flat


def _as_dicts(tree: Any) -> Any:
    """Converts mappings that JAX takes for leaves (`ConfigDict`) to dicts."""
    if isinstance(tree, MutableMapping) and not isinstance(tree, dict):
        return {key: _as_dicts(tree[key]) for key in tree}
    if type(tree) is dict:
        return {key: _as_dicts(value) for key, value in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(_as_dicts(value) for value in tree)
    return tree
