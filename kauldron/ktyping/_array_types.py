"""The array types: `Float["*b h w c"]` and its relatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kauldron.ktyping import _structural, dtypes
from kauldron.ktyping._key_type import KeyTypeMeta
from kauldron.ktyping.array_type_meta import (
    ANY_ARRAY,
    TF_TENSOR,
    TORCH_TENSOR,
    ArrayTypeMeta,
)

_X = (ANY_ARRAY, TF_TENSOR, TORCH_TENSOR)
_TF = (TF_TENSOR,)

# NumPy and JAX.
Array = ArrayTypeMeta("Array")
Num = ArrayTypeMeta("Num", dtype=dtypes.num)
Bool = ArrayTypeMeta("Bool", dtype=dtypes.bool_)
Int = ArrayTypeMeta("Int", dtype=dtypes.integer)
IntOrBool = ArrayTypeMeta("IntOrBool", dtype=dtypes.integer | dtypes.bool_)
SInt = ArrayTypeMeta("SInt", dtype=dtypes.signed)
Int8 = ArrayTypeMeta("Int8", dtype=dtypes.int8)
Int16 = ArrayTypeMeta("Int16", dtype=dtypes.int16)
Int32 = ArrayTypeMeta("Int32", dtype=dtypes.int32)
Int64 = ArrayTypeMeta("Int64", dtype=dtypes.int64)
UInt = ArrayTypeMeta("UInt", dtype=dtypes.unsigned)
UInt8 = ArrayTypeMeta("UInt8", dtype=dtypes.uint8)
UInt16 = ArrayTypeMeta("UInt16", dtype=dtypes.uint16)
UInt32 = ArrayTypeMeta("UInt32", dtype=dtypes.uint32)
UInt64 = ArrayTypeMeta("UInt64", dtype=dtypes.uint64)
Float = ArrayTypeMeta("Float", dtype=dtypes.floating)
Float16 = ArrayTypeMeta("Float16", dtype=dtypes.float16)
Float32 = ArrayTypeMeta("Float32", dtype=dtypes.float32)
Float64 = ArrayTypeMeta("Float64", dtype=dtypes.float64)
BFloat16 = ArrayTypeMeta("BFloat16", dtype=dtypes.bfloat16)
Complex = ArrayTypeMeta("Complex", dtype=dtypes.complex_)
Complex64 = ArrayTypeMeta("Complex64", dtype=dtypes.complex64)
Complex128 = ArrayTypeMeta("Complex128", dtype=dtypes.complex128)

# NumPy, JAX, TensorFlow, PyTorch.
XArray = ArrayTypeMeta("XArray", array_types=_X)
XNum = ArrayTypeMeta("XNum", array_types=_X, dtype=dtypes.num)
XBool = ArrayTypeMeta("XBool", array_types=_X, dtype=dtypes.bool_)
XInt = ArrayTypeMeta("XInt", array_types=_X, dtype=dtypes.integer)
XIntOrBool = ArrayTypeMeta(
    "XIntOrBool", array_types=_X, dtype=dtypes.integer | dtypes.bool_
)
XSInt = ArrayTypeMeta("XSInt", array_types=_X, dtype=dtypes.signed)
XInt8 = ArrayTypeMeta("XInt8", array_types=_X, dtype=dtypes.int8)
XInt16 = ArrayTypeMeta("XInt16", array_types=_X, dtype=dtypes.int16)
XInt32 = ArrayTypeMeta("XInt32", array_types=_X, dtype=dtypes.int32)
XInt64 = ArrayTypeMeta("XInt64", array_types=_X, dtype=dtypes.int64)
XUInt = ArrayTypeMeta("XUInt", array_types=_X, dtype=dtypes.unsigned)
XUInt8 = ArrayTypeMeta("XUInt8", array_types=_X, dtype=dtypes.uint8)
XUInt16 = ArrayTypeMeta("XUInt16", array_types=_X, dtype=dtypes.uint16)
XUInt32 = ArrayTypeMeta("XUInt32", array_types=_X, dtype=dtypes.uint32)
XUInt64 = ArrayTypeMeta("XUInt64", array_types=_X, dtype=dtypes.uint64)
XFloat = ArrayTypeMeta("XFloat", array_types=_X, dtype=dtypes.floating)
XFloat16 = ArrayTypeMeta("XFloat16", array_types=_X, dtype=dtypes.float16)
XFloat32 = ArrayTypeMeta("XFloat32", array_types=_X, dtype=dtypes.float32)
XFloat64 = ArrayTypeMeta("XFloat64", array_types=_X, dtype=dtypes.float64)
XBFloat16 = ArrayTypeMeta("XBFloat16", array_types=_X, dtype=dtypes.bfloat16)
XComplex = ArrayTypeMeta("XComplex", array_types=_X, dtype=dtypes.complex_)
XComplex64 = ArrayTypeMeta("XComplex64", array_types=_X, dtype=dtypes.complex64)
XComplex128 = ArrayTypeMeta("XComplex128", array_types=_X, dtype=dtypes.complex128)

# TensorFlow, told apart by module name: nothing is imported.
TfArray = ArrayTypeMeta("TfArray", array_types=_TF)
TfNum = ArrayTypeMeta("TfNum", array_types=_TF, dtype=dtypes.num)
TfBool = ArrayTypeMeta("TfBool", array_types=_TF, dtype=dtypes.bool_)
TfInt = ArrayTypeMeta("TfInt", array_types=_TF, dtype=dtypes.integer)
TfIntOrBool = ArrayTypeMeta(
    "TfIntOrBool", array_types=_TF, dtype=dtypes.integer | dtypes.bool_
)
TfSInt = ArrayTypeMeta("TfSInt", array_types=_TF, dtype=dtypes.signed)
TfInt8 = ArrayTypeMeta("TfInt8", array_types=_TF, dtype=dtypes.int8)
TfInt16 = ArrayTypeMeta("TfInt16", array_types=_TF, dtype=dtypes.int16)
TfInt32 = ArrayTypeMeta("TfInt32", array_types=_TF, dtype=dtypes.int32)
TfInt64 = ArrayTypeMeta("TfInt64", array_types=_TF, dtype=dtypes.int64)
TfUInt = ArrayTypeMeta("TfUInt", array_types=_TF, dtype=dtypes.unsigned)
TfUInt8 = ArrayTypeMeta("TfUInt8", array_types=_TF, dtype=dtypes.uint8)
TfUInt16 = ArrayTypeMeta("TfUInt16", array_types=_TF, dtype=dtypes.uint16)
TfUInt32 = ArrayTypeMeta("TfUInt32", array_types=_TF, dtype=dtypes.uint32)
TfUInt64 = ArrayTypeMeta("TfUInt64", array_types=_TF, dtype=dtypes.uint64)
TfFloat = ArrayTypeMeta("TfFloat", array_types=_TF, dtype=dtypes.floating)
TfFloat16 = ArrayTypeMeta("TfFloat16", array_types=_TF, dtype=dtypes.float16)
TfFloat32 = ArrayTypeMeta("TfFloat32", array_types=_TF, dtype=dtypes.float32)
TfFloat64 = ArrayTypeMeta("TfFloat64", array_types=_TF, dtype=dtypes.float64)
TfComplex = ArrayTypeMeta("TfComplex", array_types=_TF, dtype=dtypes.complex_)
TfComplex64 = ArrayTypeMeta("TfComplex64", array_types=_TF, dtype=dtypes.complex64)
TfComplex128 = ArrayTypeMeta("TfComplex128", array_types=_TF, dtype=dtypes.complex128)

# Numbers: of Python, or arrays without axes.
Scalar = bool | int | float | complex | Array[""]
ScalarBool = bool | Bool[""]
ScalarInt = int | Int[""]
ScalarFloat = float | Float[""]
ScalarComplex = complex | Complex[""]

# Keys: typed ones, or raw ones of either generator.
PRNGKeyArray = KeyTypeMeta("PRNGKeyArray", dtype=dtypes.prng_key)
PRNGKey = PRNGKeyArray[""] | _structural.WrappedKey
PRNGKeyLike = PRNGKey | int | np.integer | Sequence[int | str]

DType = _structural.DType
Shape = _structural.Shape
ArraySpec = _structural.ArraySpec
PyTree = _structural.PyTree
ElementSpec = PyTree[ArraySpec]
Axes = int | Sequence[int]
