"""An autoencoder on flattened inputs."""

from __future__ import annotations

import einops
import flax.linen as nn

from kauldron import kontext
from kauldron.ktyping import Array, typechecked


class FlatAutoencoder(nn.Module):
    """Flattens each example, encodes, decodes, and restores the shape.

    Returns `{name: Float["b ..."]}`, where `name` is the key `inputs` without `batch.`.
    The last features of the decoder must equal the size of a flattened example.

    Attributes:
      encoder: Module from `Float["b n"]` to a code.
      decoder: Module from the code to `Float["b n"]`.
      inputs: Key to the input, `Float["b ..."]`.
    """

    encoder: nn.Module
    decoder: nn.Module
    inputs: kontext.Key = kontext.REQUIRED

    @nn.compact
    @typechecked
    def __call__(self, inputs: Array["b ..."]) -> dict[str, Array["b ..."]]:
        flat = einops.rearrange(inputs, "b ... -> b (...)")
        reconstruction = self.decoder(self.encoder(flat))
        if reconstruction.shape != flat.shape:
            raise ValueError(
                "The decoder must return as many features as the flattened input has: "
                f"got {reconstruction.shape}, expected {flat.shape} (key "
                f"{self.inputs!r}, shape {inputs.shape})."
            )
        name = self.inputs.removeprefix("batch.")
        return {name: reconstruction.reshape(inputs.shape)}
