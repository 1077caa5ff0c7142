"""Shape mismatches on restore: arrays whose shape has changed since they were saved."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from kauldron.checkpoints import _errors


class Resizer(abc.ABC):
    """Makes a saved array fit a parameter of another shape.

    It is called only if the shapes differ.
    """

    needs_saved: bool = True

    @abc.abstractmethod
    def resize(self, saved: np.ndarray, init: np.ndarray) -> np.ndarray:
        """Returns the new value.

        Args:
          saved: The array in the checkpoint, of any shape.
          init: The initial value of the parameter.

        Returns:
          An array of the shape of `init`; it is cast to its dtype.

        Raises:
          CheckpointError: If that is impossible.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeepInit(Resizer):
    """Keeps the initial value, as for a head with other classes."""

    needs_saved = False

    def resize(self, saved: np.ndarray, init: np.ndarray) -> np.ndarray:
        return init


@dataclasses.dataclass(frozen=True, kw_only=True)
class CopyOverlap(Resizer):
    """Copies the part that both share, from index 0 on; the rest keeps its initial
    value.

    For vocabularies and heads that have grown or shrunk at their end.
    """

    def resize(self, saved: np.ndarray, init: np.ndarray) -> np.ndarray:
        if saved.ndim != init.ndim:
            raise _errors.CheckpointError(
                f"CopyOverlap needs arrays with as many axes: {saved.shape} is in the "
                f"checkpoint, {init.shape} in this run."
            )
        overlap = tuple(
            slice(min(a, b)) for a, b in zip(saved.shape, init.shape, strict=True)
        )
        # It is cast later, where numbers that do not fit are noticed.
        result = np.array(init, jnp.promote_types(saved.dtype, init.dtype))
        result[overlap] = saved[overlap]
        return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterpolatePositions(Resizer):
    """Interpolates position embeddings `[*b n d]` to another number of positions.

    Attributes:
      num_prefix_tokens: How many leading positions are not spatial (class tokens,
        registers); they are copied.
      is_grid: Whether the positions are those of a square image, row by row; otherwise
        they are a sequence.
      method: Interpolation, as in `jax.image.resize`; it smooths when it shrinks.

    Reference: Dosovitskiy et al. 2021, An image is worth 16x16 words, section 3.2,
    arXiv:2010.11929.
    """

    num_prefix_tokens: int = 0
    is_grid: bool = True
    method: Literal["linear", "cubic"] = "linear"

    def resize(self, saved: np.ndarray, init: np.ndarray) -> np.ndarray:
        same_rest = (
            saved.ndim == init.ndim >= 2
            and saved.shape[:-2] == init.shape[:-2]
            and saved.shape[-1] == init.shape[-1]
        )
        if not same_rest:
            raise _errors.CheckpointError(
                "InterpolatePositions changes the number of positions of `[*b n d]` "
                f"only: {saved.shape} is in the checkpoint, {init.shape} in this run."
            )
        prefix, places = np.split(saved, [self.num_prefix_tokens], axis=-2)
        old = self._place_shape(places.shape[-2])
        new = self._place_shape(init.shape[-2] - self.num_prefix_tokens)
        batch, features = saved.shape[:-2], saved.shape[-1:]
        resized = jax.image.resize(
            places.reshape(*batch, *old, *features).astype(np.float32),
            (*batch, *new, *features),
            self.method,
        )
        flat = np.asarray(resized).reshape(*batch, math.prod(new), *features)
        return np.concatenate([prefix.astype(np.float32), flat], axis=-2)

    def _place_shape(self, num_places: int) -> tuple[int, ...]:
        if not self.is_grid:
            return (num_places,)
        side = math.isqrt(max(num_places, 0))
        if side * side != num_places or side == 0:
            raise _errors.CheckpointError(
                f"{num_places} positions are no square: say how many are no places "
                "with `num_prefix_tokens`, or that they are a sequence with "
                "`is_grid=False`."
            )
        return (side, side)
