"""What a scan in a traced program is told of its inputs, in whichever version of JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many inputs all steps have in common, and how many are carried on.

    Those come first, in this order; the others are cut into steps.

    Args:
      params: Of an equation whose primitive is `scan`.
    """
    if "num_consts" in params:  # before jax 0.12
        return params["num_consts"], params["num_carry"]
    num_consts, num_carry, _ = map(len, params["ft_in"].unpack())
    return num_consts, num_carry
