"""What a diffusion network predicts, and what it says about the image.

A noisy image is `x_t = sqrt(a) x0 + sqrt(1 - a) eps`, `a` the share of the image in its
variance (alpha bar).
"""

from __future__ import annotations

from typing import Literal, get_args

import jax.numpy as jnp

from kauldron.ktyping import Float, typechecked

Parameterization = Literal["eps", "v", "x0"]
PARAMETERIZATIONS = get_args(Parameterization)


@typechecked
def add_noise(x0: Float["*a"], eps: Float["*a"], share: Float["*#a"]) -> Float["*a"]:
    """Returns the noisy image `x_t`.

    Reference: Ho et al. 2020, eq. 4, arXiv:2006.11239.
    """
    return jnp.sqrt(share) * x0 + jnp.sqrt(1 - share) * eps


@typechecked
def target_of(
    x0: Float["*a"], eps: Float["*a"], share: Float["*#a"], *, predicts: str
) -> Float["*a"]:
    """Returns what the network should predict.

    Reference: Salimans & Ho 2022, Progressive Distillation, section 4 and appendix D,
    arXiv:2202.00512.
    """
    if predicts == "eps":
        return eps
    if predicts == "x0":
        return x0
    return jnp.sqrt(share) * eps - jnp.sqrt(1 - share) * x0


@typechecked
def image_of(
    prediction: Float["*a"], noisy: Float["*a"], share: Float["*#a"], *, predicts: str
) -> Float["*a"]:
    """Returns the image that a prediction implies; inverse of `target_of`."""
    if predicts == "eps":
        return (noisy - jnp.sqrt(1 - share) * prediction) / jnp.sqrt(share)
    if predicts == "x0":
        return prediction
    return jnp.sqrt(share) * noisy - jnp.sqrt(1 - share) * prediction
