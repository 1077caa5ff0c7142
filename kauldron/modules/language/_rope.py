"""Rotary position embeddings, and how they reach longer contexts than trained for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, Protocol

import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Float, Int, typechecked


class RopeScaling(Protocol):
    """How the frequencies change for contexts longer than those trained on."""

    def frequencies(self, theta: float, size: int) -> Float["*pairs"]:
        """Returns the angle per position of each of `size / 2` pairs."""
        ...

    @property
    def amplitude(self) -> float:
        """Factor of the rotated vectors."""
        ...


def _plain_frequencies(theta: float, size: int) -> Float["*pairs"]:
    return theta ** (-np.arange(0, size, 2, dtype=np.float64) / size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scaling(RopeScaling):
    factor: float

    def __post_init__(self):
        if self.factor < 1:
            raise ValueError(
                f"`{type(self).__name__}.factor` is how many times longer the context "
                f"becomes, so it must be >= 1: got {self.factor}."
            )

    @property
    def amplitude(self) -> float:
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearScaling(_Scaling):
    """Positions divided by a factor.

    Attributes:
      factor: How many times longer the context becomes, >= 1.

    Reference: Chen et al. 2023, Position Interpolation, arXiv:2306.15595.
    """

    def frequencies(self, theta: float, size: int) -> Float["*pairs"]:
        return _plain_frequencies(theta, size) / self.factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class NtkScaling(_Scaling):
    """A larger base: high frequencies stay, the lowest is divided by the factor.

    Attributes:
      factor: How many times longer the context becomes, >= 1.

    Reference: Peng et al. 2023, YaRN, arXiv:2309.00071, §3.1 ("NTK-aware").
    """

    def frequencies(self, theta: float, size: int) -> Float["*pairs"]:
        if size == 2:
            return _plain_frequencies(theta, size)
        return _plain_frequencies(theta * self.factor ** (size / (size - 2)), size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class YarnScaling(_Scaling):
    """High frequencies stay, low ones are divided, between them a ramp.

    Attributes:
      factor: How many times longer the context becomes, >= 1.
      original_length: Context the model was trained for, in tokens.
      beta_fast: Turns within the original context above which a frequency stays.
      beta_slow: Turns below which it is divided by the factor.
      mscale: Factor of the logarithm in the amplitude.
      mscale_all_dim: Same of the amplitude that is divided by, as in DeepSeek; 0 if
        none is.

    Reference: Peng et al. 2023, YaRN, arXiv:2309.00071, §3.2 and eq. 22.
    """

    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 1.0
    mscale_all_dim: float = 0.0

    def frequencies(self, theta: float, size: int) -> Float["*pairs"]:
        def pair_of(num_turns: float) -> float:
            turns = self.original_length / (num_turns * 2 * math.pi)
            return size * math.log(turns) / (2 * math.log(theta))

        low = max(math.floor(pair_of(self.beta_fast)), 0)
        high = min(math.ceil(pair_of(self.beta_slow)), size - 1)
        width = max(high - low, 0.001)
        ramp = np.clip((np.arange(size // 2) - low) / width, 0, 1)
        plain = _plain_frequencies(theta, size)
        return plain / self.factor * ramp + plain * (1 - ramp)

    @property
    def amplitude(self) -> float:
        amplitude = self.amplitude_of(self.mscale)
        if self.mscale_all_dim:
            amplitude /= self.amplitude_of(self.mscale_all_dim)
        return amplitude

    def amplitude_of(self, mscale: float) -> float:
        """Returns the factor for the given weight of the logarithm."""
        return 0.1 * mscale * math.log(self.factor) + 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Llama3Scaling(_Scaling):
    """Long wavelengths divided by a factor, short ones kept, in between mixed.

    Attributes:
      factor: How many times longer the context becomes, >= 1.
      original_length: Context the model was trained for, in tokens.
      low_freq_factor: Turns within the original context below which a frequency is
        divided by the factor.
      high_freq_factor: Turns above which it stays.

    Reference: Grattafiori et al. 2024, The Llama 3 Herd of Models, arXiv:2407.21783.
    """

    original_length: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def frequencies(self, theta: float, size: int) -> Float["*pairs"]:
        plain = _plain_frequencies(theta, size)
        turns = self.original_length * plain / (2 * math.pi)
        keep = (turns - self.low_freq_factor) / (
            self.high_freq_factor - self.low_freq_factor
        )
        keep = np.clip(keep, 0, 1)
        return plain * keep + plain / self.factor * (1 - keep)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotates pairs of features by angles that grow with the position.

    Attributes:
      theta: Base of the frequencies: pair `i` turns by `theta**(-2 i / d)` a position.
      layout: Which features are a pair: `"half"` takes one of each half, as Hugging
        Face's LLaMA does; `"pair"` takes neighbours, as the paper and GGUF files do.
      fraction: Share of the features that is rotated, the first ones; the others stay.
      scaling: How longer contexts are reached, such as `YarnScaling(...)`.

    Raises:
      ValueError: If a value is out of range, or `scaling` is no scaling.

    Reference: Su et al. 2021, RoFormer, arXiv:2104.09864.
    """

    theta: float = 10_000.0
    layout: Literal["half", "pair"] = "half"
    fraction: float = 1.0
    scaling: RopeScaling | None = None

    def __post_init__(self):
        if self.layout not in ("half", "pair"):
            raise ValueError(
                f"`Rope.layout` must be 'half' or 'pair': got {self.layout!r}."
            )
        if not 0 < self.fraction <= 1:
            raise ValueError(f"`Rope.fraction` must be in (0, 1]: got {self.fraction}.")
        if self.theta <= 0:
            raise ValueError(f"`Rope.theta` must be > 0: got {self.theta}.")
        if self.scaling is not None and not hasattr(self.scaling, "frequencies"):
            raise ValueError(
                "`Rope.scaling` must be `kd.nn.LinearScaling`, `NtkScaling`, "
                "`YarnScaling`, `Llama3Scaling`, or another object with `frequencies` "
                f"and `amplitude`: got {self.scaling!r}."
            )

    @typechecked
    def __call__(self, x: Float["*b t n d"], positions: Int["*b t"]) -> Any:
        """Returns `x` rotated, in its dtype; angles are computed in f32."""
        size = self.rotated_size(x.shape[-1])
        frequencies, amplitude = self._frequencies(size)
        angles = positions.astype(jnp.float32)[..., None, None] * frequencies.reshape(
            (1,) * (x.ndim - 1) + frequencies.shape
        )
        cos, sin = jnp.cos(angles) * amplitude, jnp.sin(angles) * amplitude
        turning, staying = jnp.split(x, [size], axis=-1)
        shape = turning.shape[:-1]
        axis = -2 if self.layout == "half" else -1
        pairs = (2, size // 2) if self.layout == "half" else (size // 2, 2)
        paired = turning.astype(jnp.float32).reshape(*shape, *pairs)
        first, second = (jnp.squeeze(p, axis) for p in jnp.split(paired, 2, axis))
        turned = jnp.stack(
            [first * cos - second * sin, second * cos + first * sin], axis=axis
        )
        turned = turned.reshape(*shape, size).astype(x.dtype)
        return turned if size == x.shape[-1] else jnp.concatenate([turned, staying], -1)

    def rotated_size(self, head_dim: int) -> int:
        """Returns how many features are rotated.

        Raises:
          ValueError: If it is an odd number.
        """
        size = int(head_dim * self.fraction)
        if size < 2 or size % 2:
            raise ValueError(
                "Rotary embeddings turn pairs of features, so their number must be "
                f"even: got {size} (head_dim {head_dim} times fraction {self.fraction})."
            )
        return size

    def _frequencies(self, size: int) -> tuple[Float["*pairs"], float]:
        if self.scaling is None:
            return _plain_frequencies(self.theta, size).astype(np.float32), 1.0
        frequencies = np.asarray(self.scaling.frequencies(self.theta, size))
        return frequencies.astype(np.float32), self.scaling.amplitude
