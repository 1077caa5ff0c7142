"""Values and gradients of losses as one program each, as they are in training.

Operation by operation, each of dozens would be compiled.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from kauldron import losses


def value(loss: losses.Loss, **inputs: Any) -> Any:
    """The value of a loss."""
    return jax.jit(lambda inputs: loss(**inputs))(inputs)


def gradient(loss: losses.Loss, **inputs: Any) -> Any:
    """The gradient by the first input."""
    (name, first), *others = inputs.items()
    function = jax.jit(jax.grad(lambda x, rest: loss(**{name: x}, **rest)))
    # In NumPy: each index into an array of JAX is a program as well.
    return np.asarray(function(first, dict(others)))
