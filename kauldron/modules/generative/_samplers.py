"""Samplers: pure functions from noise to samples, given what a network has learned.

All of them work inside and outside of jit, on arrays of any shape, and compute in f32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, PRNGKey, typechecked
from kauldron.modules.generative import _noise_schedules

# Of a state `Float["*a"]` and a time in [0, 1], `Float[""]`; returns `Float["*a"]`.
Field = Callable[[Any, Any], Any]


@typechecked
def euler(velocity: Field, noise: Float["*a"], *, num_steps: int) -> Float["*a"]:
    """Follows a velocity from noise (time 0) to samples (time 1) in straight steps.

    Args:
      velocity: Of a state and a time, `(Float["*a"], Float[""]) -> Float["*a"]`.
      noise: Standard normal.
      num_steps: Number of steps, each one call of `velocity`.

    Raises:
      ValueError: If `num_steps < 1`.
    """

    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        return x + velocity(x, t) / num_steps, None

    return jax.lax.scan(step, _f32(noise), _times(num_steps))[0]


@typechecked
def heun(velocity: Field, noise: Float["*a"], *, num_steps: int) -> Float["*a"]:
    """As `euler`, with the mean of the velocities at both ends of a step.

    Two calls of `velocity` a step, and an error that falls with the square of their
    number.

    Args:
      velocity: Of a state and a time, `(Float["*a"], Float[""]) -> Float["*a"]`.
      noise: Standard normal.
      num_steps: Number of steps.

    Raises:
      ValueError: If `num_steps < 1`.

    Reference: Karras et al. 2022, Elucidating the Design Space of Diffusion-Based
    Generative Models, algorithm 1, arXiv:2206.00364.
    """

    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, None]:
        here = velocity(x, t)
        there = velocity(x + here / num_steps, t + 1 / num_steps)
        return x + (here + there) / (2 * num_steps), None

    return jax.lax.scan(step, _f32(noise), _times(num_steps))[0]


@typechecked
def ddim(
    denoise: Field,
    noise: Float["*a"],
    *,
    schedule: _noise_schedules.NoiseSchedule,
    num_steps: int,
) -> Float["*a"]:
    """Takes the noise of a diffusion away without adding any: noise decides the sample.

    Args:
      denoise: The image expected behind a noisy one at time `t / schedule.num_steps`,
        `(Float["*a"], Float[""]) -> Float["*a"]`.
      noise: Standard normal.
      schedule: How the noise was added.
      num_steps: How many steps of the schedule are taken, evenly spaced.

    Raises:
      ValueError: If `num_steps` is not in `[1, schedule.num_steps]`.

    Reference: Song et al. 2021, Denoising Diffusion Implicit Models, eq. 12 with
    sigma = 0, arXiv:2010.02502.
    """
    return _reverse(denoise, noise, None, schedule, num_steps)


@typechecked
def ancestral(
    denoise: Field,
    noise: Float["*a"],
    *,
    rng: PRNGKey,
    schedule: _noise_schedules.NoiseSchedule,
    num_steps: int,
) -> Float["*a"]:
    """Draws each less noisy image from its distribution given the image expected.

    Args:
      denoise: As for `ddim`.
      noise: Standard normal.
      rng: Key of the noise of all steps.
      schedule: How the noise was added.
      num_steps: How many steps of the schedule are taken, evenly spaced.

    Raises:
      ValueError: If `num_steps` is not in `[1, schedule.num_steps]`.

    Reference: Ho et al. 2020, Denoising Diffusion Probabilistic Models, eq. 6 and 7,
    arXiv:2006.11239; fewer steps as in Song et al. 2021, eq. 12 and 16.
    """
    return _reverse(denoise, noise, rng, schedule, num_steps)


def _reverse(
    denoise: Field,
    noise: jax.Array,
    rng: jax.Array | None,
    schedule: _noise_schedules.NoiseSchedule,
    num_steps: int,
) -> jax.Array:
    if not 1 <= num_steps <= schedule.num_steps:
        raise ValueError(
            f"`num_steps` must be in [1, {schedule.num_steps}], the number of steps of "
            f"the noise schedule: got {num_steps}."
        )
    # In f64: 1 - share loses its digits in f32 where little noise is left.
    steps = np.round(np.linspace(schedule.num_steps, 0, num_steps + 1)).astype(int)
    shares = schedule.alpha_bars[steps]
    share, share_after = shares[:-1], shares[1:]
    sigma = np.zeros(num_steps)
    if rng is not None:
        posterior = (1 - share_after) / (1 - share) * (1 - share / share_after)
        sigma = np.sqrt(posterior)
    towards = np.sqrt(np.maximum(1 - share_after - sigma**2, 0) / (1 - share))
    of_image = np.sqrt(share_after) - towards * np.sqrt(share)
    table = (steps[:-1] / schedule.num_steps, towards, of_image, sigma)

    def step(x: jax.Array, row: Any) -> tuple[jax.Array, None]:
        number, t, towards, of_image, sigma = row
        x = of_image * denoise(x, t) + towards * x
        if rng is not None:
            key = jax.random.fold_in(rng, number)
            x = x + sigma * jax.random.normal(key, x.shape)
        return x, None

    rows = (jnp.arange(num_steps), *(jnp.asarray(c, jnp.float32) for c in table))
    return jax.lax.scan(step, _f32(noise), rows)[0]


def _times(num_steps: int) -> jax.Array:
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1: got {num_steps}.")
    return jnp.arange(num_steps, dtype=jnp.float32) / num_steps


def _f32(noise: jax.Array) -> jax.Array:
    return noise.astype(jnp.float32)
