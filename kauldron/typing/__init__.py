"""The older names of array annotations, over the checker of `kauldron.ktyping`.

New code uses `from kauldron import ktyping as kt`. Where a name means something else
there, it keeps its meaning here: `Int` is a *signed* integer, `Shape("*b h")` is a
function, and `check_type` needs no scope.
"""

from kauldron._base import public
from kauldron.ktyping import (
    Array,
    ArraySpec,
    Axes,
    Bool,
    Complex,
    Complex64,
    DType,
    ElementSpec,
    Float,
    Float32,
    Num,
    PRNGKey,
    PRNGKeyLike,
    PyTree,
    ShapeError,
    TfArray,
    TfFloat,
    TfFloat32,
    TfUInt8,
    UInt8,
    UInt32,
    XArray,
)
from kauldron.ktyping import Int as Integer
from kauldron.ktyping import KTypeCheckError as TypeCheckError
from kauldron.ktyping import ShapeScope as Memo
from kauldron.ktyping import SInt as Int
from kauldron.typing._aliases import (
    AxisName,
    Initializer,
    Scalar,
    ScalarFloat,
    ScalarInt,
    Schedule,
    TfInt,
)
from kauldron.typing._dims import (
    Dim,
    Shape,
    check_type,
    enable_kd_type_checking,
    set_shape,
)
from kauldron.typing._typechecked import typechecked

__all__ = [
    # Arrays.
    "Array",
    "Bool",
    "Complex",
    "Complex64",
    "Float",
    "Float32",
    "Int",
    "Integer",
    "Num",
    "UInt8",
    "UInt32",
    "XArray",
    "TfArray",
    "TfFloat",
    "TfFloat32",
    "TfInt",
    "TfUInt8",
    # What comes with them.
    "ArraySpec",
    "Axes",
    "AxisName",
    "DType",
    "ElementSpec",
    "Initializer",
    "PRNGKey",
    "PRNGKeyLike",
    "PyTree",
    "Scalar",
    "ScalarFloat",
    "ScalarInt",
    "Schedule",
    # Checking.
    "Dim",
    "Memo",
    "Shape",
    "ShapeError",
    "TypeCheckError",
    "check_type",
    "enable_kd_type_checking",
    "set_shape",
    "typechecked",
]

__dir__ = public.publish(__name__)
