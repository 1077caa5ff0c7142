"""What type checkers see of the array types.

A class that derives from `Any` can be used as any array; a protocol accepts any array;
and with a `__class_getitem__` of its own, what is in the brackets is left alone. So
`Float["*b h w c"]` needs no rule switched off, and `f(3)` is still an error. (Fields of
dataclasses are `Any` to pyright: it takes them for descriptors.)
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

class _Annotation(Any, Protocol):
    def __class_getitem__(cls, item: Any, /) -> Any: ...

class _ArrayAnnotation(_Annotation, Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...

@runtime_checkable
class Array(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Num(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Bool(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Int(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class IntOrBool(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class SInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Int8(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Int16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Int32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Int64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class UInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class UInt8(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class UInt16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class UInt32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class UInt64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Float(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Float16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Float32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Float64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class BFloat16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Complex(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Complex64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class Complex128(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XArray(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XNum(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XBool(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XIntOrBool(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XSInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XInt32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XInt64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XUInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XUInt8(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XUInt32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XFloat(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XFloat16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XFloat32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XFloat64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XBFloat16(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class XComplex(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfArray(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfNum(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfBool(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfInt(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfInt32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfInt64(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfUInt8(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfFloat(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class TfFloat32(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class PRNGKeyArray(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class ArraySpec(_ArrayAnnotation, Protocol): ...

@runtime_checkable
class PyTree(_Annotation, Protocol): ...

class Shape(tuple[int, ...]):
    def __class_getitem__(cls, item: Any, /) -> Any: ...

Scalar: TypeAlias = bool | int | float | complex | Array
ScalarBool: TypeAlias = bool | Bool
ScalarInt: TypeAlias = int | Int
ScalarFloat: TypeAlias = float | Float
ScalarComplex: TypeAlias = complex | Complex
PRNGKey: TypeAlias = PRNGKeyArray
PRNGKeyLike: TypeAlias = PRNGKeyArray | int | Sequence[int | str]
DType: TypeAlias = Any
ElementSpec: TypeAlias = PyTree
Axes: TypeAlias = int | Sequence[int]
