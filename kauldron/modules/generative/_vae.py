"""Variational autoencoder: images from a code that is standard normal."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kontext
from kauldron.ktyping import Array, Float, typechecked
from kauldron.modules.generative import _conditional


class VAE(nn.Module):
    """Encodes an image as a normal distribution, and decodes a draw from it.

    Returns `{"image", "latent", "mean", "logvar"}`: what is decoded, the code that was
    drawn, and the parameters of its distribution, `Float32["b ... d"]`. With unit weight,
    the losses are the negative evidence lower bound if both are sums over an example.
    For an image of n values with normal noise of standard deviation sigma:

    - `kd.losses.L2(preds="preds.image", targets="batch.image")`, a mean over values;
    - `kd.losses.GaussianKL(mean="preds.mean", logvar="preds.logvar", weight=w)`, a sum
      over the code, with `w = 2 * sigma**2 / n`.

    Codes are drawn from the stream `default`, in evaluations too.

    Attributes:
      encoder: Module from `Float["b ..."]` to `Float["b ... 2*d"]`, mean and logarithm of
        the variance side by side.
      decoder: Module from a code `Float["b ... d"]` to an image.
      image: Key to images, `Float["b ..."]`.

    Raises:
      ValueError: If the encoder's last axis is odd.

    Reference: Kingma & Welling 2014, Auto-Encoding Variational Bayes, eq. 10,
    arXiv:1312.6114.
    """

    encoder: nn.Module
    decoder: nn.Module
    image: kontext.Key = kontext.REQUIRED

    @nn.compact
    @typechecked
    def __call__(self, image: Float["b ..."]) -> dict[str, Float["b ..."]]:
        mean, logvar = self.encode(image)
        noise = jax.random.normal(_conditional.random_key(self), mean.shape)
        latent = mean + jnp.exp(logvar / 2) * noise
        return {
            "image": self.decoder(latent),
            "latent": latent,
            "mean": mean,
            "logvar": logvar,
        }

    @typechecked
    def encode(self, image: Float["b ..."]) -> tuple[Float["b ..."], Float["b ..."]]:
        """Returns mean and logarithm of the variance of the code."""
        moments = self.encoder(image).astype(jnp.float32)
        if moments.shape[-1] % 2:
            raise ValueError(
                "The encoder of a VAE returns mean and log-variance side by side, an "
                f"even number of features: got {moments.shape[-1]}."
            )
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, logvar

    @typechecked
    def decode(self, latent: Float["b ..."]) -> Array["b ..."]:
        """Returns the image of a code."""
        return self.decoder(latent)

    def sample(self, image: Float["b ..."]) -> Any:
        """Draws as many images as there are in a batch; for an evaluator's
        `model_method`.

        Returns:
          `{"samples": Float["b ..."]}`.
        """
        mean, _ = self.encode(image)  # for the shape of a code
        noise = jax.random.normal(_conditional.random_key(self), mean.shape)
        return {"samples": self.decoder(noise)}
