"""Dtypes supported by each format on disk: Orbax arrays, safetensors, `.npz`.

| dtype | checkpoint | safetensors | npz |
|---|---|---|---|
| bool, int8 to int64, uint8 to uint64, float16, float32, float64, complex64 | yes | yes | yes |
| complex128 | yes | refused | yes |
| bfloat16, float8_e4m3fn, e4m3fnuz, e5m2, e5m2fnuz, e8m0fnu | yes | yes | as float32 |
| float8_e3m4, float8_e4m3b11fnuz, float4_e2m1fn | yes | refused | as float32 |
| float8_e4m3, float6_e2m3fn, float6_e3m2fn | refused | refused | as float32 |
| int2, int4 | yes | refused | as int8 |
| int1 | refused | refused | as int8 |
| uint1, uint2, uint4 | refused | refused | as uint8 |

"As float32" is the type that holds each of the values, NaN and infinity included.
"""

from __future__ import annotations

import jax.numpy as jnp
import ml_dtypes
import numpy as np

from kauldron.checkpoints import _dtype_changes, _errors
from kauldron.ktyping import Array, DType

_EVERYWHERE = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
_ORBAX = {
    *_EVERYWHERE,
    *("complex128", "int2", "int4", "bfloat16", "float4_e2m1fn", "float8_e3m4"),
    *("float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"),
    *("float8_e5m2fnuz", "float8_e8m0fnu"),
}
# The name in a file's header -> dtype. `F8_E4M3` is the one without infinities.
SAFETENSORS = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "U32": np.dtype(np.uint32),
    "U64": np.dtype(np.uint64),
    "I8": np.dtype(np.int8),
    "I16": np.dtype(np.int16),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}


def check_checkpoint(name: str, leaf: Array) -> None:
    """Finds what Orbax cannot save; Orbax would fail in threads, after it has begun.

    Raises:
      CheckpointError: If a leaf is not an array of numbers that Orbax can save.
    """
    if _dtype_changes.is_key(leaf):
        return
    if not hasattr(leaf, "dtype"):
        # Exactly what Orbax takes: it refuses complex numbers and texts.
        if not isinstance(leaf, bool | int | float):
            raise _errors.CheckpointError(
                f"A checkpoint holds numbers: {name} is a {type(leaf).__name__}."
            )
        leaf = np.asarray(leaf)
    if 0 in leaf.shape:
        raise _errors.CheckpointError(
            f"Orbax cannot save arrays without elements: {name} has shape "
            f"{tuple(leaf.shape)}."
        )
    _check(name, leaf.dtype, _ORBAX, "A checkpoint")


def check_safetensors(name: str, array: np.ndarray) -> None:
    """Finds an array that safetensors cannot hold.

    Raises:
      CheckpointError: If the format does not support its dtype.
    """
    _check(
        name,
        array.dtype,
        {dtype.name for dtype in SAFETENSORS.values()},
        "A safetensors file",
    )


def for_npz(name: str, array: np.ndarray) -> np.ndarray:
    """Returns an array of the same values in a dtype that `.npz` supports.

    Raises:
      CheckpointError: If it holds no numbers.
    """
    if array.dtype.name in (*_EVERYWHERE, "complex128"):
        return array
    for wide, kind in (
        (np.int8, jnp.signedinteger),
        (np.uint8, jnp.unsignedinteger),
        (np.float32, jnp.floating),
    ):
        if jnp.issubdtype(array.dtype, kind):
            return array.astype(wide)
    raise _errors.CheckpointError(
        f"An npz file holds numbers: {name} has the dtype {array.dtype.name}."
    )


def _check(name: str, dtype: DType, known: set[str], what: str) -> None:
    if np.dtype(dtype).name in known:
        return
    raise _errors.CheckpointError(
        f"{what} holds no {np.dtype(dtype).name}, which {name} has. Nothing was written: "
        "change its dtype first, such as to uint8, int8, float32."
    )
