"""Names that only the older module has."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from kauldron import ktyping as kt
from kauldron.ktyping import array_type_meta, dtypes

Scalar = kt.Array[""]
ScalarFloat = kt.Float[""]
ScalarInt = kt.SInt[""]

TfInt = array_type_meta.ArrayTypeMeta(
    "TfInt", array_types=array_type_meta.TF_TENSOR, dtype=dtypes.signed
)
TfInt.__module__ = "kauldron.typing"

AxisName = Hashable
Initializer = Callable[..., Any]
"""`(rng, shape, dtype) -> array`, as in `jax.nn.initializers`."""
Schedule = Callable[[Any], Any]
"""`step -> value`, as in `optax.schedules`."""
