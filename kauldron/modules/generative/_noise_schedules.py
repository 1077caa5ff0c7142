"""Noise schedules of diffusion: how much of the image is left at each step."""

from __future__ import annotations

import abc
import dataclasses
import functools

import numpy as np

from kauldron._base import arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseSchedule(arguments.NamesArguments, abc.ABC):
    """Base of noise schedules; a subclass gives `betas`.

    Attributes:
      num_steps: Number of steps from an image to noise, `T` of the papers.

    Raises:
      ValueError: If `num_steps` is below 1, or a beta is not in (0, 1).
    """

    num_steps: int = 1000

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1: got {self.num_steps}.")
        if not np.all((self.betas > 0) & (self.betas < 1)):
            raise ValueError(
                f"The noise of every step must be in (0, 1): {self} goes from "
                f"{self.betas.min():.3g} to {self.betas.max():.3g}."
            )

    @functools.cached_property
    @abc.abstractmethod
    def betas(self) -> np.ndarray:
        """Variance of the noise that step `t = i + 1` adds, `Float64["num_steps"]`."""

    @functools.cached_property
    def alpha_bars(self) -> np.ndarray:
        """Share of the image in the variance after `t` steps, `Float64["num_steps+1"]`.

        Entry 0, before the first step, is 1.
        """
        return np.cumprod(np.concatenate([[1.0], 1.0 - self.betas]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearNoise(NoiseSchedule):
    """Variances that grow linearly.

    Attributes:
      first_beta: Variance of the noise of the first step, in (0, 1).
      last_beta: That of the last.

    Reference: Ho et al. 2020, Denoising Diffusion Probabilistic Models, section 4,
    arXiv:2006.11239.
    """

    first_beta: float = 1e-4
    last_beta: float = 0.02

    @functools.cached_property
    def betas(self) -> np.ndarray:
        return np.linspace(self.first_beta, self.last_beta, self.num_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineNoise(NoiseSchedule):
    """A share of the image that falls like a squared cosine.

    Attributes:
      offset: Keeps the noise of the first steps from being too small to matter.
      max_beta: Limit of the noise of the last steps.

    Reference: Nichol & Dhariwal 2021, Improved Denoising Diffusion Probabilistic Models,
    eq. 17, arXiv:2102.09672.
    """

    offset: float = 0.008
    max_beta: float = 0.999

    @functools.cached_property
    def betas(self) -> np.ndarray:
        t = np.linspace(0, 1, self.num_steps + 1)
        share = np.cos((t + self.offset) / (1 + self.offset) * np.pi / 2) ** 2
        return np.minimum(1 - share[1:] / share[:-1], self.max_beta)
