"""Embeddings of positions, to be added to tokens or to a grid of features."""

from __future__ import annotations

import math
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kauldron.ktyping import Axes, DType, Float, typechecked
from kauldron.modules import _logical_axes
from kauldron.modules.transformers import _axes, knn_types


class LearnedEmbedding(nn.Module):
    """A vector for each position, learned.

    Attributes:
      dtype: Of the parameter.
      emb_init: Its initializer.
      emb_name: Its name.
    """

    dtype: DType = jnp.float32
    emb_init: _axes.Initializer = nn.initializers.normal(stddev=0.02)
    emb_name: str = "embeddings"

    @nn.compact
    def __call__(self, shape: tuple[int, ...], *, axis: Axes) -> Float["..."]:
        """Returns the embedding, broadcast to the shape.

        Args:
          shape: Of what it is added to, `(..., features)`.
          axis: Axes that positions are counted along, negative, without -1.
        """
        axes = _check_axes(axis, len(shape))
        first = min(axes)
        emb_shape = [shape[i] if i in axes else 1 for i in range(first, -1)]
        emb_shape.append(shape[-1])
        names = (*(None,) * -(first + 1), "embed")
        init = _logical_axes.with_logical_axes(self.emb_init, names)
        embedding = self.param(self.emb_name, init, tuple(emb_shape), self.dtype)
        return jnp.broadcast_to(embedding, shape)


class ZeroEmbedding(nn.Module):
    """Zeros: no embedding of positions.

    Attributes:
      dtype: Of the zeros.
    """

    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, shape: tuple[int, ...], *, axis: Axes = ()) -> Float["..."]:
        """Returns zeros of the shape."""
        del axis
        return jnp.zeros(shape, self.dtype)


class FourierEmbedding(nn.Module):
    """Sines and cosines of positions in [-pi, pi], through a dense layer.

    Attributes:
      num_fourier_bases: Number of frequencies: 1, 2, 4, ...
    """

    num_fourier_bases: int

    @nn.compact
    def __call__(self, shape: tuple[int, ...], *, axis: Axes) -> Float["..."]:
        """Returns the embedding, broadcast to the shape; for `axis`, see `LearnedEmbedding`."""
        axes = _check_axes(axis, len(shape))
        lines = [
            np.linspace(-math.pi, math.pi, shape[i], dtype=np.float32) for i in axes
        ]
        grid = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
        ones = [shape[i] if i in axes else 1 for i in range(min(axes), -1)]
        positions = jnp.asarray(grid.reshape(*ones, len(axes)))
        features = convert_to_fourier_features(positions, self.num_fourier_bases)
        dense = _axes.dense(shape[-1], (None, "embed"), name="dense_pe")
        return jnp.broadcast_to(dense(features), shape)


@typechecked
def convert_to_fourier_features(
    inputs: Float["*b d"],
    basis_degree: int,
    precision: jax.lax.PrecisionLike = jax.lax.Precision.HIGHEST,
) -> Float["*b f"]:
    """Returns sines, then cosines, of the inputs times 1, 2, 4, ...

    Args:
      inputs: Such as positions in [-pi, pi].
      basis_degree: Number of frequencies.
      precision: Accepted as published; multiplying by powers of two is exact.

    Returns:
      `2 * basis_degree * d` features: by sine and cosine, by frequency, by input.

    Reference: Mildenhall et al. 2020, NeRF, eq. 4, arXiv:2003.08934.
    """
    del precision
    scaled = jnp.concatenate([inputs * 2.0**i for i in range(basis_degree)], -1)
    return jnp.concatenate([jnp.sin(scaled), jnp.cos(scaled)], -1)


class AddEmbedding(nn.Module):
    """Adds an embedding of positions to its input.

    Attributes:
      emb: The embedding.
      axis: Axes that positions are counted along, negative, without -1.
    """

    emb: knn_types.PositionEmbedding
    axis: Axes

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*any d"]) -> Float["*any d"]:
        return inputs + self.emb(inputs.shape, axis=self.axis)


class AddLearnedEmbedding(nn.Module):
    """Adds a learned embedding of positions. Deprecated: use `AddEmbedding`.

    Attributes:
      emb_init: Initializer.
      axes: Axes of the embedding, -1 for the features included.
    """

    emb_init: _axes.Initializer = nn.initializers.normal(stddev=0.02)
    axes: Axes = (-2, -1)

    @nn.compact
    @typechecked
    def __call__(self, inputs: Float["*b n d"]) -> Float["*b n d"]:
        warnings.warn(
            "`AddLearnedEmbedding` is deprecated: use "
            "`kd.nn.AddEmbedding(kd.nn.LearnedEmbedding(), axis=-2)`.",
            DeprecationWarning,
            stacklevel=2,
        )
        axes = (self.axes,) if isinstance(self.axes, int) else tuple(self.axes)
        embedding = LearnedEmbedding(emb_init=self.emb_init)
        nn.share_scope(self, embedding)
        return inputs + embedding(inputs.shape, axis=tuple(i for i in axes if i != -1))


def _check_axes(axis: Axes, ndim: int) -> tuple[int, ...]:
    """Returns the axes in order.

    Raises:
      ValueError: If there is none, one of them is not negative, is that of the features,
        or does not exist.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if not axes or any(i >= -1 or i < -ndim for i in axes):
        raise ValueError(
            "`axis` of an embedding of positions must be negative numbers, without that "
            f"of the features (-1), such as -2 or (-3, -2): got {axis!r} for an input of "
            f"{ndim} axes."
        )
    return tuple(sorted(axes))
