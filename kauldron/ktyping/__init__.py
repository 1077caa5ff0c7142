"""Shapes and dtypes in annotations, checked when functions are called.

```python
import numpy as np
from kauldron import ktyping as kt


@kt.typechecked
def gray(image: kt.Float["*b h w 3"]) -> kt.Float["*b h w 1"]:
    return image.mean(axis=-1, keepdims=True)


gray(np.zeros((8, 32, 32, 3)))
```
"""

from kauldron.ktyping import array_type_meta, dtypes
from kauldron.ktyping._array_types import (
    Array,
    ArraySpec,
    Axes,
    BFloat16,
    Bool,
    Complex,
    Complex64,
    Complex128,
    DType,
    ElementSpec,
    Float,
    Float16,
    Float32,
    Float64,
    Int,
    Int8,
    Int16,
    Int32,
    Int64,
    IntOrBool,
    Num,
    PRNGKey,
    PRNGKeyArray,
    PRNGKeyLike,
    PyTree,
    Scalar,
    ScalarBool,
    ScalarComplex,
    ScalarFloat,
    ScalarInt,
    Shape,
    SInt,
    TfArray,
    TfBool,
    TfFloat,
    TfFloat32,
    TfInt,
    TfInt32,
    TfInt64,
    TfNum,
    TfUInt8,
    UInt,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    XArray,
    XBFloat16,
    XBool,
    XComplex,
    XFloat,
    XFloat16,
    XFloat32,
    XFloat64,
    XInt,
    XInt32,
    XInt64,
    XIntOrBool,
    XNum,
    XSInt,
    XUInt,
    XUInt8,
    XUInt32,
)
from kauldron.ktyping._config import (
    CONFIG,
    Config,
    add_config_override,
    remove_config_override,
)
from kauldron.ktyping._dims import check_type, dim, isinstance, shape
from kauldron.ktyping._errors import (
    AmbiguousDimensionError,
    KTypeCheckError,
    NoActiveScopeError,
    ShapeError,
    UnknownDimensionError,
)
from kauldron.ktyping._parser import ShapeSpecError
from kauldron.ktyping._scope import ShapeScope, get_current_scope
from kauldron.ktyping._typechecked import typechecked
from kauldron.ktyping.array_type_meta import is_array_type

__all__ = [
    # Checking.
    "typechecked",
    "check_type",
    "isinstance",
    "is_array_type",
    # Dims.
    "dim",
    "shape",
    "ShapeScope",
    "get_current_scope",
    # Arrays.
    "Array",
    "Num",
    "Bool",
    "Int",
    "IntOrBool",
    "SInt",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "BFloat16",
    "Complex",
    "Complex64",
    "Complex128",
    # Arrays of NumPy, JAX, TensorFlow and PyTorch.
    "XArray",
    "XNum",
    "XBool",
    "XInt",
    "XIntOrBool",
    "XSInt",
    "XInt32",
    "XInt64",
    "XUInt",
    "XUInt8",
    "XUInt32",
    "XFloat",
    "XFloat16",
    "XFloat32",
    "XFloat64",
    "XBFloat16",
    "XComplex",
    # Arrays of TensorFlow.
    "TfArray",
    "TfNum",
    "TfBool",
    "TfInt",
    "TfInt32",
    "TfInt64",
    "TfUInt8",
    "TfFloat",
    "TfFloat32",
    # Numbers, keys, what comes with arrays.
    "Scalar",
    "ScalarBool",
    "ScalarInt",
    "ScalarFloat",
    "ScalarComplex",
    "PRNGKey",
    "PRNGKeyArray",
    "PRNGKeyLike",
    "DType",
    "Shape",
    "Axes",
    "ArraySpec",
    "ElementSpec",
    "PyTree",
    # Configuration.
    "CONFIG",
    "Config",
    "add_config_override",
    "remove_config_override",
    # Errors.
    "KTypeCheckError",
    "AmbiguousDimensionError",
    "UnknownDimensionError",
    "NoActiveScopeError",
    "ShapeError",
    "ShapeSpecError",
    # Modules.
    "array_type_meta",
    "dtypes",
]
