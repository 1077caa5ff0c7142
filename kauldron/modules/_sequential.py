"""Sequential modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from kauldron import kontext
from kauldron.ktyping import PyTree


class Identity(nn.Module):
    """Returns its input."""

    @nn.compact
    def __call__(self, inputs: PyTree) -> Any:
        return inputs


class Sequential(nn.Module):
    """Calls layers one after the other.

    A tuple that a layer returns becomes the positional arguments of the next, a mapping
    its keyword arguments.

    Attributes:
      layers: Modules or functions.
      inputs: Key to the input of the first layer.
      outputs: Name under which the last output is returned, in a dict; `None` returns
        the output itself.
    """

    layers: Sequence[Any] = ()
    inputs: kontext.Key = kontext.REQUIRED
    outputs: str | None = None

    @nn.compact
    def __call__(self, inputs: PyTree) -> Any:
        x = inputs
        for layer in self.layers:
            if isinstance(x, tuple):
                x = layer(*x)
            elif isinstance(x, Mapping):
                x = layer(**x)
            else:
                x = layer(x)
        return x if self.outputs is None else {self.outputs: x}

    @classmethod
    def from_repeated(
        cls,
        layer: nn.Module,
        repeats: int,
        *,
        shared_weights: bool = False,
        inputs: str = kontext.REQUIRED,
        outputs: str | None = None,
        prefix: Sequence[Any] = (),
        suffix: Sequence[Any] = (),
    ) -> Sequential:
        """Repeats one layer, with its own weights each time or shared ones."""
        if shared_weights:
            middle = [layer] * repeats
        else:
            middle = [layer.clone() for _ in range(repeats)]
        layers = (*prefix, *middle, *suffix)
        return cls(layers=layers, inputs=inputs, outputs=outputs)
