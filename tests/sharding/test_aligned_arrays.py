"""Arrays that begin where XLA reads them in place."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from kauldron import kd
from kauldron.sharding import aligned_arrays

_ARRAYS = {
    "floats": np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32),
    "every other": np.arange(10)[::2],
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "a number": np.array(3.5),
    "nothing": np.zeros((0, 3), np.int8),
    "truth": np.array([True, False]),
    "bf16": np.arange(3).astype(ml_dtypes.bfloat16),
    "text": np.array(["a", "bc"]),
    "objects": np.array(["a", None, [1]], object),
}


@pytest.mark.parametrize("x", _ARRAYS.values(), ids=_ARRAYS.keys())
def test_a_copy_is_equal_dense_and_shares_no_memory(x):
    copied = aligned_arrays.copy(x)
    assert (copied.dtype, copied.shape) == (x.dtype, x.shape)
    np.testing.assert_array_equal(copied, x)
    assert copied.flags.c_contiguous and copied.flags.writeable
    assert not np.shares_memory(copied, x)
    assert x.dtype.hasobject or copied.ctypes.data % 64 == 0


@pytest.mark.parametrize("kind", ["text", "objects"])
def test_what_no_device_can_hold_is_refused_by_jax(kind):
    with pytest.raises(TypeError, match=r"[Dd]type|valid JAX"):
        kd.sharding.device_put(_ARRAYS[kind], None)
