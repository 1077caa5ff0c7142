"""Printing values during a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron._base import console


@dataclasses.dataclass(frozen=True, kw_only=True)
class Print(metrics.Metric):
    """Prints the first elements of an array to stderr, and writes them as a text.

    Attributes:
      value: Key to an array of any shape.
      first_n: How many elements along its first axis are printed, >= 1.
    """

    value: kontext.Key = kontext.REQUIRED
    first_n: int = 5

    @flax.struct.dataclass
    class State(metrics.AutoState["Print"]):
        """The first elements, `Array["n ..."]`."""

        value: Any = metrics.truncate_field(num_field="parent.first_n")

        def compute(self) -> Any:
            value = super().compute().value
            if value is None:
                return {}
            text = f"{self.parent.value}: {np.array2string(np.asarray(value))}"
            console.log(text)
            return text

    def __post_init__(self) -> None:
        if self.first_n < 1:
            raise ValueError(f"`first_n` must be at least 1: got {self.first_n}.")

    def get_state(self, value: Any) -> State:
        return self.State(value=jnp.atleast_1d(value)[: self.first_n])
