"""Non-array types that go with arrays: shapes, dtypes, specs, trees."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron.ktyping import _checkers, _match, _parser, array_type_meta
from kauldron.ktyping._structural_type import StructuralType


class _ShapeMeta(StructuralType):
    def __getitem__(cls, spec: str) -> Any:
        _parser.parse(spec)
        return cls.with_args(spec)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "`Shape` is an annotation: write `Shape['*b n']` for a tuple of sizes. "
            "The shape made of known dims is `kt.shape('*b n')`."
        )

    def match(
        cls, value: object, candidates: list[_match.Candidate], scope: object = None
    ) -> Any:
        if not isinstance(value, tuple | list) or not all(map(_is_size, value)):
            return []
        return _match_spec(cls.args, value, candidates, scope)


def _is_size(value: object) -> bool:
    if isinstance(value, bool):
        return False
    # Symbolic sizes of `jax.export` are not integers, but have their operations.
    return hasattr(value, "__index__") or type(value).__name__ == "_DimExpr"


class Shape(metaclass=_ShapeMeta):
    """A tuple of sizes; `Shape["*b n"]`: one that fits the spec."""


class _DTypeMeta(StructuralType):
    def match(
        cls, value: Any, candidates: list[_match.Candidate], scope: object = None
    ) -> Any:
        if value is None:
            return []
        if isinstance(value, np.dtype) or hasattr(value, "dtype"):
            return candidates
        try:
            np.dtype(value)
        except TypeError:
            return candidates if str(value).startswith("key<") else []
        return candidates


class DType(metaclass=_DTypeMeta):
    """What NumPy or JAX accept as a dtype: `jnp.float32`, `np.dtype("int8")`, `"f4"`."""


class _ArraySpecMeta(StructuralType):
    def __getitem__(cls, spec: str) -> Any:
        _parser.parse(spec)
        return cls.with_args(spec)

    def match(
        cls, value: Any, candidates: list[_match.Candidate], scope: Any = None
    ) -> Any:
        if not hasattr(value, "shape") or not hasattr(value, "dtype"):
            return []
        is_abstract = type(value).__name__ == "ShapeDtypeStruct"
        if array_type_meta.is_array(value) and not is_abstract:
            return []
        return _match_spec(cls.args, value.shape, candidates, scope)


def _match_spec(
    args: Sequence[Any],
    shape: Any,
    candidates: list[_match.Candidate],
    scope: Any,
) -> Any:
    if not args:
        return candidates
    spec = _parser.parse(args[0])
    if spec.has_fstring and scope is not None:
        spec = _parser.expand(spec, scope.evaluate)
    return _match.match(spec, tuple(shape), candidates)


class ArraySpec(metaclass=_ArraySpecMeta):
    """Has a shape and a dtype but is no array; `ArraySpec["b n"]` fixes the shape."""


class _WrappedKeyMeta(StructuralType):
    def match(
        cls, value: object, candidates: list[_match.Candidate], scope: object = None
    ) -> Any:
        # The class of `kauldron.random`, which is not a room below this one.
        is_wrapper = type(value).__name__ == "PRNGKey" and hasattr(value, "rng")
        return candidates if is_wrapper else []


class WrappedKey(metaclass=_WrappedKeyMeta):
    """A key with methods, as of `kauldron.random`."""


class _PyTreeMeta(StructuralType):
    def __getitem__(cls, item: object) -> Any:
        args = item if isinstance(item, tuple) else (item,)
        if len(args) > 2 or (len(args) == 2 and not _is_structure_name(args[1])):
            raise TypeError(
                "`PyTree` takes the type of the leaves and the name of the structure: "
                f"PyTree[Float['n'], '$S']. Got {item!r}."
            )
        return cls.with_args(*args)

    def match(
        cls, value: object, candidates: list[_match.Candidate], scope: object = None
    ) -> Any:
        if not cls.args:
            return candidates
        leaves, structure = flatten(value, cls.args[0], scope)
        if len(cls.args) == 2:
            candidates = _bind_structure(cls.args[1], structure, candidates)
        checker = _checkers.checker(cls.args[0])
        for _, leaf in leaves:
            if not candidates:
                break
            candidates = checker(leaf, candidates, scope)
        return candidates


def _is_structure_name(name: object) -> bool:
    return isinstance(name, str) and name.startswith("$") and name[1:].isidentifier()


def _bind_structure(
    name: str, structure: object, candidates: list[_match.Candidate]
) -> Any:
    return [
        {**candidate, name: structure}
        for candidate in candidates
        if candidate.get(name, structure) == structure
    ]


def flatten(
    tree: object, leaf_type: object, scope: object = None
) -> tuple[list[tuple[Any, Any]], Any]:
    """Returns `(path, leaf)` pairs and the structure; what fits the type is a leaf."""
    from kauldron._base import frozen_dict

    if "jax" not in sys.modules and isinstance(tree, np.ndarray):
        return [((), tree)], "*"
    import jax

    frozen_dict.register_pytree()
    if array_type_meta.is_array_type(leaf_type):
        return jax.tree_util.tree_flatten_with_path(tree)
    checker = _checkers.checker(leaf_type, is_shallow=True)
    return jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: bool(checker(node, [{}], scope))
    )


class PyTree(metaclass=_PyTreeMeta):
    """A tree as JAX sees it.

    `PyTree[T]`: all leaves are `T`. `PyTree[T, "$S"]`: and all trees with this name in
    a scope have the same structure.
    """
