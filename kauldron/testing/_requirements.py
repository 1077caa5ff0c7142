"""How contract suites are written: one sentence per requirement."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kauldron import kontext

COMPILED_ANEW = (
    "A second batch of the same shapes is compiled anew. Nothing may depend on values, or on "
    "the identity of an object: no `if` on arrays, no Python number made of one."
)


def require(holds: object, message: str) -> None:
    """Raises `AssertionError` unless something holds; also with `python -O`."""
    if not holds:
        raise AssertionError(message)


def require_same_bits(found: Any, expected: Any, message: str) -> None:
    """Raises `AssertionError` unless two trees have the same structure, dtypes and bits."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(found)
    others = jax.tree.leaves(expected)
    require(
        structure == jax.tree.structure(expected),
        f"{message} Structure: {structure}, expected {jax.tree.structure(expected)}.",
    )
    for (path, leaf), other in zip(leaves, others, strict=True):
        a, b = np.asarray(leaf), np.asarray(other)
        is_same = a.dtype == b.dtype and a.shape == b.shape
        # Bytes, so that NaN equals itself; texts have no fixed ones.
        same_values = (
            a.tolist() == b.tolist()
            if a.dtype == object
            else a.tobytes() == b.tobytes()
        )
        require(
            is_same and same_values,
            f"{message} At {str(kontext.Path.from_jax_path(path)) or '.'!r}: "
            f"{_describe(a)}, expected {_describe(b)}.",
        )


def copy_to_host(tree: Any) -> Any:
    """Returns a tree of NumPy arrays that nothing changes or deletes."""
    return jax.tree.map(lambda x: np.array(x), tree)


def _describe(array: np.ndarray) -> str:
    values = ", ".join(str(x) for x in array.ravel()[:4])
    return f"{array.dtype}{list(array.shape)} ({values}{', …' * (array.size > 4)})"
