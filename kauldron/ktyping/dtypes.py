"""Dtype sets for array types: `dtypes.floating | dtypes.uint8`.

Dtypes are told apart by their names, so that the arrays of every library fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

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


_BUILTINS = (bool, int, float, complex)


def dtype_name(dtype: object) -> str:
    """Returns the name of a dtype of NumPy, JAX, TensorFlow, or PyTorch.

    The types of Python's own numbers are told apart from dtypes: `pyfloat` for `float`.
    """
    if dtype in _BUILTINS and isinstance(dtype, type):
        return f"py{dtype.__name__}"
    name = getattr(dtype, "name", None)
    if name == "void" and getattr(dtype, "names", None) == ("float0",):
        return "float0"  # of the gradient of an integer
    if isinstance(name, str):
        return name
    return str(dtype).rpartition(".")[2]  # torch.float32; key<fry>


def _kind(name: str) -> str:
    if name == "float0":
        return "other"
    for prefix, kind in _KIND_PREFIXES:
        if name.startswith(prefix):
            return kind
    return "other"


@dataclasses.dataclass(frozen=True, eq=False)
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DTypes):
            return NotImplemented
        return self._members == other._members

    def __hash__(self) -> int:
        return hash(self._members)

    @property
    def _members(self) -> tuple[Any, ...]:
        return (self.names, self.kinds, self.is_any)

    def __or__(self, other: DTypes) -> DTypes:
        return CompoundDType((self, other))

    def includes(self, other: DTypes) -> bool:
        """Returns whether every dtype of `other` is in this set."""
        if self.is_any or other.is_any:
            return self.is_any
        kinds_of_names = {name for name in other.names if _kind(name) in self.kinds}
        return other.kinds <= self.kinds and other.names <= self.names | kinds_of_names

    def __contains__(self, dtype: object) -> bool:
        name = dtype_name(dtype)
        return self.is_any or name in self.names or _kind(name) in self.kinds

    def __str__(self) -> str:
        if self.is_any:
            return "any dtype"
        kinds = set(self.kinds)
        words = [
            f"a Python {name[2:]}" if name.startswith("py") else format_dtype(name)
            for name in sorted(self.names)
        ]
        if kinds >= {"signed", "unsigned", "floating", "complex"}:
            words.append("a number")
            kinds -= {"signed", "unsigned", "floating", "complex"}
        if kinds >= {"signed", "unsigned"}:
            words.append("an integer")
            kinds -= {"signed", "unsigned"}
        return " or ".join([*words, *(_WORDS[kind] for kind in sorted(kinds))])


class NpDType(DTypes):
    """One dtype of NumPy, by name or as it is: `NpDType("int8")`."""

    def __init__(self, dtype: Any):
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        super().__init__(names=frozenset([name]))


class JaxDType(NpDType):
    """One dtype that NumPy does not have, such as bfloat16."""


class BuiltinDType(DTypes):
    """The numbers of Python of one type: `BuiltinDType(float)`. No array has them."""

    def __init__(self, python_type: type):
        super().__init__(names=frozenset([dtype_name(python_type)]))


class CompoundDType(DTypes):
    """The dtypes of several sets: what `a | b` gives."""

    def __init__(self, members: Iterable[DTypes]):
        members = tuple(members)
        super().__init__(
            names=frozenset().union(*(m.names for m in members)),
            kinds=frozenset().union(*(m.kinds for m in members)),
            is_any=any(m.is_any for m in members),
        )


DType = DTypes  # the published name of the base


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


any_dtype = DTypes(is_any=True)
bool_ = _kinds("bool")
signed = _kinds("signed")
unsigned = _kinds("unsigned")
integer = _kinds("signed", "unsigned")
floating = _kinds("floating")
complex_ = _kinds("complex")
num = _kinds("signed", "unsigned", "floating", "complex")
prng_key = _kinds("key")

int8, int16, int32, int64 = (NpDType(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (NpDType(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (NpDType(f"float{n}") for n in (16, 32, 64))
bfloat16 = JaxDType("bfloat16")
complex64, complex128 = NpDType("complex64"), NpDType("complex128")
float0, float128 = JaxDType("float0"), NpDType("float128")

# The published names of the same sets.
generic, number = any_dtype, num
signedinteger, unsignedinteger = signed, unsigned

# Numbers of Python, and sets with them. No array is one: they say what is meant where a
# set of dtypes is looked at, `float in dtypes.float_like`.
pybool, pyint, pyfloat, pycomplex = map(BuiltinDType, _BUILTINS)
bool_like = bool_ | pybool
int_like = integer | pyint
float_like = floating | pyfloat
complex_like = complex_ | pycomplex
scalar_like = CompoundDType((bool_like, int_like, float_like, complex_like))
