"""How far an exported program is from the model, on a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.export._errors import ExportError

# A program that was written as it should be is far closer, in any precision.
_MAX_RELATIVE = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How far two predictions are apart.

    Attributes:
      max_abs: Largest absolute difference.
      relative: Norm of the difference over the norm of the model's prediction.
    """

    max_abs: float
    relative: float


def example_inputs(specs: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """Returns arrays in the place of a real batch: normal numbers, zeros as integers."""
    rng = np.random.default_rng(0)
    made = {}
    for name, spec in specs.items():
        shape = tuple(n if isinstance(n, int) else 2 for n in spec.shape)
        is_float = jnp.issubdtype(spec.dtype, jnp.floating)
        values = rng.normal(size=shape) if is_float else np.zeros(shape)
        made[name] = values.astype(spec.dtype)
    return made


def differences(
    expected: Mapping[str, Any], actual: Mapping[str, Any]
) -> dict[str, Difference]:
    """Returns how far each prediction is from the model's."""
    found = {}
    for name, value in expected.items():
        a, b = (np.asarray(x).astype(np.float64) for x in (value, actual[name]))
        norm = float(np.linalg.norm(a))
        both_nan = np.isnan(a) & np.isnan(b)
        gap = np.where(both_nan | (a == b), 0.0, a - b)
        found[name] = Difference(
            max_abs=float(np.max(np.abs(gap), initial=0.0)),
            relative=float(np.linalg.norm(gap)) / (norm if norm > 0 else 1.0),
        )
    return found


def check(found: Mapping[str, Difference]) -> None:
    """Raises `ExportError` if a program does not do what the model does."""
    for name, difference in found.items():
        if not difference.relative <= _MAX_RELATIVE:
            raise ExportError(
                f"The exported program does not predict what the model does: {name!r} "
                f"differs by {difference.max_abs:.3g} (relative {difference.relative:.3g})."
                " Nothing was written."
            )


def run(function: Callable[..., Any], *args: Any) -> dict[str, np.ndarray]:
    """Returns what a function gives on one device, as NumPy arrays."""
    with jax.default_device(jax.local_devices()[0]):
        return jax.device_get(jax.jit(lambda *xs: function(*xs))(*args))
