"""Values of metrics as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metrics as JSON has them: numbers, lists of numbers, texts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, float):
            found[name] = plain_number(value)
        elif isinstance(value, Mapping):
            found[name] = plain_values(value)
        else:
            array = np.asarray(value)
            found[name] = (
                plain_number(array)
                if array.ndim == 0
                else [plain_number(x) for x in array.flat]
            )
    return found


def plain_number(value: Any) -> float | int | None:
    """Returns a number that JSON can hold; what is not finite has none."""
    number = np.asarray(value).item() if not isinstance(value, float) else value
    if isinstance(number, int | bool):
        return number
    return float(f"{number:.7g}") if math.isfinite(number) else None
