"""A U-Net of noisy images or volumes, times and labels."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from kauldron.ktyping import DType, Float, Int, typechecked
from kauldron.modules import _logical_axes, _norms
from kauldron.modules.generative import _networks
from kauldron.modules.images import _conv, _levels, _resampling

# Blocks begin as their shortcuts. Not quite: a gradient reaches all that is before them.
_SMALL_INIT = nn.initializers.variance_scaling(1e-10, "fan_in", "normal")


class ConditionalUNet(nn.Module):
    """Residual blocks at several resolutions that know time and label (DDPM).

    For `kd.nn.Diffusion` and `kd.nn.FlowMatching` of signals, images or volumes. Behind
    the second norm of each block, features are scaled and shifted by time and label. The
    first prediction is nearly 0.

    Attributes:
      features: Channels of each level, from fine to coarse: multiples of `num_groups`.
      kernel_size: One size for each spatial axis: their number is that of the axes.
      strides: Of all steps between levels, or a list with those of each step.
      num_blocks: Blocks of each level, on the way down and on the way up.
      num_groups: Groups of features that are normalised together.
      num_classes: Number of classes; the class id `num_classes` means "not told". `None`
        for a network without labels.
      dtype: Of the computation; `None` is that of inputs and parameters.
      param_dtype: Of the parameters.

    Raises:
      ValueError: If a label is given without `num_classes`, or the other way round; if
        the axes of an image are no multiples of `downsampling_factor`.

    Reference: Ho et al. 2020, Denoising Diffusion Probabilistic Models, appendix B,
    arXiv:2006.11239 (ours without attention); Dhariwal and Nichol 2021, Diffusion Models
    Beat GANs on Image Synthesis, eq. 3, arXiv:2105.05233.
    """

    features: Sequence[int] = (32, 64, 128)
    kernel_size: Sequence[int] = (3, 3)
    strides: _levels.Strides = 2
    num_blocks: int = 1
    num_groups: int = 8
    num_classes: int | None = None
    dtype: DType | None = None
    param_dtype: DType = jnp.float32

    @property
    def downsampling_factor(self) -> tuple[int, ...]:
        """Of what each spatial axis of an image must be a multiple."""
        return _levels.factor(self._steps)

    @property
    def _steps(self) -> list[tuple[int, ...]]:
        return _levels.steps(
            self.strides, len(self.features) - 1, len(self.kernel_size)
        )

    @nn.compact
    @typechecked
    def __call__(
        self, x: Float["*b *n c"], t: Float["*b"], label: Int["*b"] | None = None
    ) -> Float["*b *n c"]:
        _levels.check_channels(self.features, x.shape[-1])
        _levels.check_sizes(x, self.downsampling_factor, type(self).__name__)
        times = _networks.TimeEmbedding(64)(t).astype(x.dtype)
        condition = _networks.embed_condition(
            self, times, label, features=4 * self.features[0]
        )
        num_levels = len(self.features)
        h = self._conv(x, "image_in", self.features[0])
        skips = []
        for level in range(num_levels):
            for i in range(self.num_blocks):
                h = self._block(h, condition, level, f"down{level}_{i}")
            if level < num_levels - 1:
                skips.append(h)
                h = _resampling.Downsample(self._steps[level], "average")(h)
        for level in reversed(range(num_levels - 1)):
            h = _resampling.Upsample(self._steps[level], "nearest")(h)
            h = jnp.concatenate([h, skips[level]], axis=-1)
            for i in range(self.num_blocks):
                h = self._block(h, condition, level, f"up{level}_{i}")
        h = nn.silu(self._norm("norm_out")(h))
        return self._conv(h, "image_out", x.shape[-1], is_small=True)

    @nn.nowrap
    def _block(
        self, x: jax.Array, condition: jax.Array, level: int, name: str
    ) -> jax.Array:
        features = self.features[level]
        h = self._conv(
            nn.silu(self._norm(f"{name}_norm1")(x)), f"{name}_conv1", features
        )
        modulation = _networks.dense(
            f"{name}_modulation",
            2 * features,
            ("embed", None),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )(condition)
        num_axes = len(self.kernel_size)
        modulation = jnp.expand_dims(modulation, tuple(range(-1 - num_axes, -1)))
        scale, shift = jnp.split(modulation, 2, axis=-1)
        h = self._norm(f"{name}_norm2")(h) * (1 + scale) + shift
        h = self._conv(nn.silu(h), f"{name}_conv2", features, is_small=True)
        if x.shape[-1] != features:
            x = self._conv(x, f"{name}_shortcut", features, kernel=1)
        return x + h

    @nn.nowrap
    def _norm(self, name: str) -> _norms.Normalise:
        named = _logical_axes.with_logical_axes
        norm = nn.GroupNorm(
            num_groups=self.num_groups,
            epsilon=1e-5,
            use_fast_variance=False,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            scale_init=named(nn.initializers.ones_init(), ("conv_out",)),
            bias_init=named(nn.initializers.zeros_init(), ("conv_out",)),
        )
        return _norms.make_norm(
            norm, owner=self, num_spatial_axes=len(self.kernel_size), name=name
        )

    @nn.nowrap
    def _conv(
        self,
        x: jax.Array,
        name: str,
        features: int,
        *,
        kernel: int | None = None,
        is_small: bool = False,
    ) -> jax.Array:
        init = _SMALL_INIT if is_small else _conv.default_kernel_init
        kernel_size = self.kernel_size
        if kernel is not None:
            kernel_size = (kernel,) * len(kernel_size)
        return _conv.Conv(
            features,
            kernel_size,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=init,
            name=name,
        )(x)
