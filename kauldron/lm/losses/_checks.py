"""What is undefined, and checks of fields and inputs, shared by the losses of language models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kauldron._base import errors
from kauldron.ktyping import Array


def undefined(metric: Any) -> dict[str, np.ndarray]:
    """Returns NaN for each name of a metric: nothing was measured."""
    return {name: np.full((), np.nan) for name in metric.__metric_names__()}


def check_range(
    owner: object, field: str, *, low: float, high: float = float("inf")
) -> None:
    """Raises ValueError unless a field lies in `[low, high]`."""
    value = getattr(owner, field)
    if low <= value <= high:
        return
    bounds = f">= {low}" if high == float("inf") else f"in [{low}, {high}]"
    raise ValueError(
        f"`{field}` of {type(owner).__name__} must be {bounds}: got {value!r}."
    )


def check_choice(owner: object, field: str, allowed: Sequence[str]) -> None:
    """Raises ValueError unless a field is one of the allowed words."""
    value = getattr(owner, field)
    if value not in allowed:
        raise ValueError(
            f"`{field}` of {type(owner).__name__} must be one of {list(allowed)}: got "
            f"{value!r}.{errors.did_you_mean(str(value), allowed)}"
        )


def check_tokens(owner: Any, *, targets: Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless there is one integer target for each token."""
    if targets.shape != shape:
        raise ValueError(
            f"{type(owner).__name__} needs one target for each token: got targets "
            f"{targets.shape} (key {owner.targets!r}) for tokens {shape}."
        )
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(
            f"{type(owner).__name__} needs integer targets: key {owner.targets!r} is "
            f"{targets.dtype}."
        )
