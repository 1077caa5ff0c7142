"""Flow matching: a velocity that carries noise to images on straight paths."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron._base import errors
from kauldron.ktyping import Array, Float, typechecked
from kauldron.modules.generative import _conditional, _samplers

_SAMPLERS = {"euler": _samplers.euler, "heun": _samplers.heun}


class FlowMatching(_conditional.NoisyImageModel):
    """Learns the velocity from noise (time 0) to images (time 1): rectified flow.

    Returns `{"prediction", "target"}`, both `Float32["b ..."]`: the velocity that the
    network predicts at a random time between noise and image, and their difference. The
    loss is `kd.losses.L2(preds="preds.prediction", targets="preds.target")`.

    Noise and times come from the stream `default`, in evaluations too.

    Attributes:
      sampler: How images are drawn, `'euler'` or `'heun'`.
      num_sample_steps: Number of its steps.

    Raises:
      ValueError: If the sampler is not one of these, or labels are not one class id for
        each image.

    Reference: Lipman et al. 2023, Flow Matching for Generative Modeling, arXiv:2210.02747;
    Liu et al. 2023, Flow Straight and Fast, eq. 1, arXiv:2209.03003.
    """

    sampler: str = "heun"
    num_sample_steps: int = 25

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("sampler", self.sampler, _SAMPLERS)

    @nn.compact
    @typechecked
    def __call__(
        self, image: Float["b ..."], label: Array | None = None
    ) -> dict[str, Float["b ..."]]:
        _conditional.check_label(self, image, label)
        image = image.astype(jnp.float32)
        noise = jax.random.normal(_conditional.random_key(self), image.shape)
        t = jax.random.uniform(_conditional.random_key(self), image.shape[:1])
        weight = _conditional.per_example(t, image)
        x = (1 - weight) * noise + weight * image
        return {
            "prediction": self._predict(x, t, label),
            "target": image - noise,
        }

    @typechecked
    def generate(
        self, noise: Float["b ..."], label: Array | None = None
    ) -> Float["b ..."]:
        _conditional.check_label(self, noise, label)
        sampler = _SAMPLERS[self.sampler]
        velocity = _conditional.guided_network(self, label)
        return sampler(velocity, noise, num_steps=self.num_sample_steps)


def check_name(field: str, value: str, known: Any) -> None:
    """Raises if a name is not one of those known, naming the nearest."""
    if value not in known:
        raise ValueError(
            f"`{field}` must be one of {sorted(known)}: got {value!r}."
            f"{errors.did_you_mean(value, sorted(known))}"
        )
