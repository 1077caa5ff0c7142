"""Random-key arrays: typed keys, and the raw words of `jax.random.PRNGKey`."""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron.ktyping import _match, array_type_meta, dtypes

# Words of a raw key -> the dtype of the typed one: threefry's, and those of `rbg`.
_RAW_KEYS = {2: "key<fry>", 4: "key<rbg>"}


@dataclasses.dataclass(frozen=True)
class _RawKeys:
    """Raw keys as an array of keys: the last axis, of words, is none of its axes."""

    shape: tuple[int, ...]
    dtype: str


class KeyTypeMeta(array_type_meta.ArrayTypeMeta):
    """Makes the type of arrays of keys.

    A spec describes keys, not words: `jax.random.split(jax.random.PRNGKey(0), 4)` has
    the shape `[4, 2]` and fits `PRNGKeyArray["4"]`. Any `uint32[*b 2]` or `uint32[*b 4]`
    may be raw keys, and is taken for them.
    """

    def as_seen(cls, value: object) -> Any:
        shape: Any = getattr(value, "shape", None) or ()
        dtype = getattr(value, "dtype", None)
        is_raw = len(shape) > 0 and shape[-1] in _RAW_KEYS
        if is_raw and dtypes.dtype_name(dtype) == "uint32":
            return _RawKeys(tuple(shape[:-1]), _RAW_KEYS[shape[-1]])
        return value

    def has_instance(cls, value: object) -> bool:
        return isinstance(value, _RawKeys) or super().has_instance(value)

    def match(
        cls, value: object, candidates: list[_match.Candidate], scope: object = None
    ) -> Any:
        if not cls.has_instance(value):
            return []
        return super().match(cls.as_seen(value), candidates, scope)

    def dtype_matches(cls, value: object) -> bool:
        return super().dtype_matches(cls.as_seen(value))

    def shape_matches(cls, value: object) -> bool:
        return super().shape_matches(cls.as_seen(value))
