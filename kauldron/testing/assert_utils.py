"""Assertions on pytrees."""

from __future__ import annotations

from typing import Any

import jax

from kauldron import kontext


def assert_trees_all_same_type(*trees: Any) -> None:
    """Raises `AssertionError` unless trees have one structure, and leaves of one type.

    Types are compared exactly: a NumPy array is not a JAX array. Values, shapes and
    dtypes may differ.
    """
    _assert_same(trees, lambda leaf: type(leaf), "type")


def assert_trees_all_same_spec(*trees: Any) -> None:
    """Raises `AssertionError` unless trees agree in structure, shapes and dtypes."""
    _assert_same(trees, lambda leaf: (tuple(leaf.shape), leaf.dtype), "shape and dtype")


def _assert_same(trees: tuple[Any, ...], describe: Any, what: str) -> None:
    if len(trees) < 2:
        raise ValueError(f"Nothing to compare: got {len(trees)} tree.")
    first = jax.tree.structure(trees[0])
    for i, tree in enumerate(trees[1:], 1):
        if jax.tree.structure(tree) != first:
            raise AssertionError(
                f"Tree {i} has another structure than tree 0: "
                f"{jax.tree.structure(tree)}, not {first}."
            )
    leaves = [jax.tree_util.tree_leaves_with_path(tree) for tree in trees]
    for group in zip(*leaves, strict=True):
        described = [describe(leaf) for _, leaf in group]
        if any(d != described[0] for d in described[1:]):
            path = kontext.Path.from_jax_path(group[0][0])
            raise AssertionError(f"The leaves at {path} differ in {what}: {described}.")
