"""Support for jaxtyping annotations in functions that we check.

jaxtyping is never imported here: unless the user did, there are no such annotations.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import typing
import warnings
from typing import Any

from kauldron.ktyping import _config, array_type_meta, dtypes
from kauldron.ktyping._errors import KTypeCheckError
from kauldron.ktyping._parser import ShapeSpecError

_log = logging.getLogger(__name__)


def is_annotation(hint: object) -> bool:
    """Returns whether a hint is an array type or `PyTree` of jaxtyping."""
    return type(hint).__module__.partition(".")[0] == "jaxtyping"


def apply_policy(hint: object, scope: Any) -> bool:
    """Does what the configuration says; returns whether to check."""
    module = scope.namespace.get("__name__") if scope is not None else None
    policy = _config.active(module).jaxtyping_annotations
    if policy == "ignore":
        return False
    message = f"jaxtyping annotation in a function checked by ktyping: {hint}."
    if policy == "error":
        raise KTypeCheckError(message + " Write it as `kt.Float[...]`.")
    if policy == "warn":
        warnings.warn(message, stacklevel=4)
    elif policy == "log_info":
        _log.info(message)
    return True


@functools.lru_cache(maxsize=1024)
def convert(hint: Any) -> array_type_meta.ArrayTypeMeta | None:
    """Returns our type that means the same, or `None` if there is none."""
    if not hasattr(hint, "dim_str"):
        return None
    names = hint.dtypes if isinstance(hint.dtypes, tuple | list) else None
    if names is None:
        allowed = dtypes.any_dtype
    elif any(not isinstance(name, str) for name in names):
        return None  # regular expressions
    else:
        kinds = {"key"} & {"key" if name == "prng_key" else "" for name in names}
        allowed = dtypes.DTypes(frozenset(names), frozenset(kinds))
    try:
        return array_type_meta.ArrayTypeMeta(
            hint.__name__,
            array_types=_array_types(hint.array_type),
            dtype=allowed,
            spec=_convert_spec(hint.dim_str),
        )
    except ShapeSpecError:
        return None


def _array_types(array_type: object) -> Any:
    if array_type is Any:
        return (array_type_meta.ANY_ARRAY, object)
    jax = sys.modules.get("jax")
    members = typing.get_args(array_type) or (array_type,)
    if jax is not None and jax.Array in members:
        members = (*members, jax.ShapeDtypeStruct)
    return members


def _convert_spec(dim_str: str) -> str:
    # `rows=3` is a documented 3; `?a` is a dim that differs from leaf to leaf.
    words = [re.sub(r"^\w+=", "", word) for word in dim_str.split()]
    return " ".join("_" if word.startswith("?") else word for word in words)
