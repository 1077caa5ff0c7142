"""Image similarity metrics."""

from __future__ import annotations

import dataclasses

import flax.struct

from kauldron import kontext
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import base, base_state, image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Psnr(base.Metric):
    """Peak signal-to-noise ratio in dB, averaged over images.

    The mean squared error is taken to be at least 1e-10: equal images have 100 dB.

    Attributes:
      pred: Key to images, `Float["*b h w c"]`.
      target: Key to images of the same shape.
      mask: Key to weights of the images, `Array["*b"]` or `Array["*b 1"]`.
      in_vrange: Range of the values; the peak is its width.
      clip: Bounds that values are clipped to first; `True` means `in_vrange`.
      num_spatial_dims: 3 measures volumes, `Float["*b z y x c"]`.

    Raises:
      ValueError: If the shapes differ or are not those of images.
    """

    pred: kontext.Key = kontext.REQUIRED
    target: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    in_vrange: tuple[float, float] = (0.0, 1.0)
    clip: bool | tuple[float, float] | None = None
    num_spatial_dims: int = 2

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        pred: Array["*a"],
        target: Array["*a"],
        mask: Array | float | None = None,
    ) -> State:
        values = image.psnr(
            pred,
            target,
            in_vrange=self.in_vrange,
            clip=self.clip,
            num_spatial_dims=self.num_spatial_dims,
        )
        return self.State.from_values(values, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ssim(base.Metric):
    """Structural similarity in [-1, 1], averaged over images.

    Attributes:
      pred: Key to images, `Float["*b h w c"]`, at least `filter_size` pixels high and
        wide.
      target: Key to images of the same shape.
      mask: Key to weights of the images, `Array["*b"]` or `Array["*b 1"]`.
      in_vrange: Range of the values.
      filter_size: Size of the Gaussian window in pixels.
      filter_sigma: Standard deviation of the window in pixels.
      k1: Stabilises the comparison of means, relative to the range.
      k2: Stabilises the comparison of variances, relative to the range.
      num_spatial_dims: 3 measures volumes, `Float["*b z y x c"]`, by windows that are
        cubes; squares of all slices have another mean.

    Raises:
      ValueError: If the shapes differ or are not those of images.

    Reference: Wang et al. 2004, Image Quality Assessment: From Error Visibility to
    Structural Similarity.
    """

    pred: kontext.Key = kontext.REQUIRED
    target: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    in_vrange: tuple[float, float] = (0.0, 1.0)
    filter_size: int = 11
    filter_sigma: float = 1.5
    k1: float = 0.01
    k2: float = 0.03
    num_spatial_dims: int = 2

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        pred: Array["*a"],
        target: Array["*a"],
        mask: Array | float | None = None,
    ) -> State:
        values = image.ssim(
            pred,
            target,
            in_vrange=self.in_vrange,
            filter_size=self.filter_size,
            filter_sigma=self.filter_sigma,
            k1=self.k1,
            k2=self.k2,
            num_spatial_dims=self.num_spatial_dims,
        )
        return self.State.from_values(values, mask=mask)
