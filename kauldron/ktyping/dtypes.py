"""Sets of dtypes, for array types: `dtypes.floating | dtypes.uint8`.

Dtypes are told apart by their names, so that the arrays of every library fit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from kauldron.kontext import format_dtype

_KIND_PREFIXES = (
    ("bool", "bool"),
    ("int", "signed"),
    ("uint", "unsigned"),
    ("float", "floating"),
    ("bfloat", "floating"),
    ("complex", "complex"),
    ("key<", "key"),
)


def dtype_name(dtype: Any) -> str:
    """Returns the name of a dtype of NumPy, JAX, TensorFlow, or PyTorch."""
    name = getattr(dtype, "name", None)
    if isinstance(name, str):
        return name
    return str(dtype).rpartition(".")[2]  # torch.float32; key<fry>


def _kind(name: str) -> str:
    for prefix, kind in _KIND_PREFIXES:
        if name.startswith(prefix):
            return kind
    return "other"


@dataclasses.dataclass(frozen=True)
class DTypes:
    """A set of dtypes: those of some kinds, and some by name.

    Attributes:
      names: Such as `float32`.
      kinds: Of `bool signed unsigned floating complex key`.
      is_any: Whether every dtype is in.
    """

    names: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    is_any: bool = False

    def __or__(self, other: DTypes) -> DTypes:
        return DTypes(
            self.names | other.names,
            self.kinds | other.kinds,
            self.is_any or other.is_any,
        )

    def __contains__(self, dtype: Any) -> bool:
        name = dtype_name(dtype)
        return self.is_any or name in self.names or _kind(name) in self.kinds

    def __str__(self) -> str:
        if self.is_any:
            return "any dtype"
        kinds = set(self.kinds)
        words = [format_dtype(name) for name in sorted(self.names)]
        if kinds >= {"signed", "unsigned", "floating", "complex"}:
            words.append("a number")
            kinds -= {"signed", "unsigned", "floating", "complex"}
        if kinds >= {"signed", "unsigned"}:
            words.append("an integer")
            kinds -= {"signed", "unsigned"}
        return " or ".join([*words, *(_WORDS[kind] for kind in sorted(kinds))])


_WORDS = {
    "bool": "bool",
    "signed": "a signed integer",
    "unsigned": "an unsigned integer",
    "floating": "a float",
    "complex": "a complex number",
    "key": "a PRNG key",
}


def _kinds(*kinds: str) -> DTypes:
    return DTypes(kinds=frozenset(kinds))


def _named(name: str) -> DTypes:
    return DTypes(names=frozenset([name]))


any_dtype = DTypes(is_any=True)
bool_ = _kinds("bool")
signed = _kinds("signed")
unsigned = _kinds("unsigned")
integer = _kinds("signed", "unsigned")
floating = _kinds("floating")
complex_ = _kinds("complex")
num = _kinds("signed", "unsigned", "floating", "complex")
prng_key = _kinds("key")

int8, int16, int32, int64 = (_named(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (_named(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (_named(f"float{n}") for n in (16, 32, 64))
bfloat16 = _named("bfloat16")
complex64, complex128 = _named("complex64"), _named("complex128")
