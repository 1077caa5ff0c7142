"""Diffusion: a network that takes noise away in many small steps (DDPM)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import Array, Float, typechecked
from kauldron.modules.generative import (
    _conditional,
    _noise_schedules,
    _parameterizations,
    _samplers,
)
from kauldron.modules.generative._flow_matching import check_name


class Diffusion(_conditional.NoisyImageModel):
    """Learns what is behind images of which any share is noise.

    Returns `{"prediction", "target", "image"}`, each `Float32["b ..."]`: what the network
    predicts of an image that is noisy to a random step of the schedule, what it should
    predict, and the image that its prediction implies. The loss is
    `kd.losses.L2(preds="preds.prediction", targets="preds.target")`.

    The network's time is `t / schedule.num_steps`, `t` from 1. Noise and times come from
    the stream `default`, in evaluations too.

    Attributes:
      schedule: How noise is added.
      predicts: What the network predicts: the noise (`'eps'`), the image (`'x0'`), or
        `sqrt(a) eps - sqrt(1 - a) x0` (`'v'`), `a` the share of the image in the
        variance. `'eps'` says nothing about the image where nearly all is noise, as at
        the end of a cosine schedule.
      clip_range: Values that images can have; samplers clip to it. `None` for any.
      sampler: How images are drawn, `'ddim'` or `'ancestral'`.
      num_sample_steps: Number of its steps; `None` is all of the schedule.

    Raises:
      ValueError: If `predicts` or `sampler` is not one of these, or labels are not one
        class id for each image.

    Reference: Ho et al. 2020, Denoising Diffusion Probabilistic Models, algorithm 1,
    arXiv:2006.11239; Salimans & Ho 2022, Progressive Distillation for Fast Sampling of
    Diffusion Models, section 4, arXiv:2202.00512.
    """

    schedule: _noise_schedules.NoiseSchedule = _noise_schedules.CosineNoise()
    predicts: str = "v"
    clip_range: tuple[float, float] | None = None
    sampler: str = "ddim"
    num_sample_steps: int | None = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("predicts", self.predicts, _parameterizations.PARAMETERIZATIONS)
        check_name("sampler", self.sampler, ("ddim", "ancestral"))

    @nn.compact
    @typechecked
    def __call__(
        self, image: Float["b ..."], label: Array | None = None
    ) -> dict[str, Float["b ..."]]:
        _conditional.check_label(self, image, label)
        image = image.astype(jnp.float32)
        noise = jax.random.normal(_conditional.random_key(self), image.shape)
        step = jax.random.randint(
            *(_conditional.random_key(self), image.shape[:1]),
            *(1, self.schedule.num_steps + 1),
        )
        share = _conditional.per_example(self._shares[step], image)
        x = _parameterizations.add_noise(image, noise, share)
        prediction = self._predict(x, step / self.schedule.num_steps, label)
        predicts = self.predicts
        return {
            "prediction": prediction,
            "target": _parameterizations.target_of(
                image, noise, share, predicts=predicts
            ),
            "image": _parameterizations.image_of(
                prediction, x, share, predicts=predicts
            ),
        }

    @typechecked
    def generate(
        self, noise: Float["b ..."], label: Array | None = None
    ) -> Float["b ..."]:
        _conditional.check_label(self, noise, label)
        predict, shares = _conditional.guided_network(self, label), self._shares

        def denoise(x: Array, t: Array) -> jax.Array:
            share = shares[jnp.round(t * self.schedule.num_steps).astype(int)]
            image = _parameterizations.image_of(
                predict(x, t),
                x,
                jnp.reshape(share, (1,) * x.ndim),
                predicts=self.predicts,
            )
            return image if self.clip_range is None else image.clip(*self.clip_range)

        num_steps = self.num_sample_steps or self.schedule.num_steps
        if self.sampler == "ddim":
            return _samplers.ddim(
                denoise, noise, schedule=self.schedule, num_steps=num_steps
            )
        return _samplers.ancestral(
            *(denoise, noise),
            rng=_conditional.random_key(self),
            schedule=self.schedule,
            num_steps=num_steps,
        )

    @property
    def _shares(self) -> jax.Array:
        return jnp.asarray(self.schedule.alpha_bars, jnp.float32)
