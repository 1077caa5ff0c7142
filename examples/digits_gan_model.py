"""The two networks of `digits_gan.py`, and what the critic is trained on."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron import kd
from kauldron.kontext import REQUIRED, Key


class Generator(nn.Module):
    """Noise `f[b d]` and labels `i[b]` -> images `f[b 8 8 1]` in [0, 1]."""

    num_features: int = 256

    @nn.compact
    def __call__(self, noise, label):
        label = nn.one_hot(label, 10)
        x = jnp.concatenate([noise, label], -1)
        for _ in range(2):
            x = nn.LayerNorm(use_bias=False, use_scale=False)(
                nn.Dense(self.num_features)(x)
            )
            # The label scales and shifts what a layer makes of the noise.
            scale = nn.Dense(self.num_features)(label)
            shift = nn.Dense(self.num_features)(label)
            x = nn.silu(x * (1 + scale) + shift)
        return nn.sigmoid(nn.Dense(8 * 8)(x)).reshape(-1, 8, 8, 1)


class Critic(nn.Module):
    """Images `f[b 8 8 1]` and labels `i[b]` -> how real they look, `f[b 1]`.

    Reference: Miyato et al. 2018, Spectral Normalization, arXiv:1802.05957; Miyato &
    Koyama 2018, cGANs with Projection Discriminator, arXiv:1802.05637.
    """

    num_features: int = 256
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, image, label):
        def bounded(layer, x):
            return nn.SpectralNorm(layer)(x, update_stats=self.is_training)

        x = 2 * image.reshape(image.shape[0], -1) - 1
        for _ in range(2):
            x = nn.leaky_relu(bounded(nn.Dense(self.num_features), x), 0.2)
        of_label = bounded(nn.Dense(x.shape[-1], use_bias=False), nn.one_hot(label, 10))
        return bounded(nn.Dense(1), x) + jnp.sum(of_label * x, -1, keepdims=True)


class ConditionalGan(nn.Module):
    """Generator and critic in one pass: real digits, and as many made ones.

    The made digits are 0, 1, ..., 9, 0, 1, ...

    Attributes:
      image: Key to real images, `f[b 8 8 1]` in [0, 1].
      label: Key to what they show, `i[b]`.
      noise_size: Number of random values behind an image.
    """

    image: Key = REQUIRED
    label: Key = REQUIRED
    noise_size: int = 32

    def setup(self):
        self.generator = Generator()
        self.critic = Critic()

    def __call__(self, image, label):
        num_images = image.shape[0]
        fake = self.make(jnp.arange(num_images) % 10)
        logits = self.critic(
            jnp.concatenate([image, fake]),
            jnp.concatenate([label, jnp.arange(num_images) % 10]),
        )
        return {
            "image": fake,
            "real_logits": logits[:num_images],
            "fake_logits": logits[num_images:],
            "enlarged": _enlarge(fake),
        }

    def make(self, label):
        """Makes images `f[b 8 8 1]` of the digits `i[b]`."""
        shape = (label.shape[0], self.noise_size)
        return self.generator(jax.random.normal(self.make_rng("default"), shape), label)


def _enlarge(image):
    """Smooth, four times as large, and framed: for people to look at."""
    large = jax.image.resize(image, (image.shape[0], 32, 32, 1), "cubic")
    return jnp.pad(large, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=0.4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hinge(kd.losses.Loss):
    """`max(0, 1 - logits)` for real examples, `max(0, 1 + logits)` for others.

    Attributes:
      logits: Key to what the critic says, `f[*b]`.
      is_real: Whether the examples are real.

    Reference: Lim & Ye 2017, Geometric GAN, arXiv:1705.02894.
    """

    logits: Key = REQUIRED
    is_real: bool

    def get_values(self, logits):
        return nn.relu(1 - logits if self.is_real else 1 + logits)
