"""Image metrics: images of differing sizes, features against stored statistics."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kauldron import kontext, metrics
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class PsnrWithResize(metrics.Psnr):
    """`kd.metrics.Psnr` of images that are brought to one size first.

    Attributes:
      pred: Key to images, `Float["*b h w c"]`.
      target: Key to images `Float["*b h2 w2 c"]`.
      mask: Key to weights of the images, `Array["*b"]` or `Array["*b 1"]`.
      in_vrange: Range of the values; the peak is its width.
      clip: Bounds that values are clipped to first; `True` means `in_vrange`.
      size: (height, width) in pixels that both get; `None` is that of the target.
      method: Of `jax.image.resize`, which smooths when it makes smaller.
    """

    size: tuple[int, int] | None = None
    method: str = "bilinear"

    @typechecked
    def get_state(
        self,
        pred: Array["*b h w c"],
        target: Array["*b _h _w c"],
        mask: Array | float | None = None,
    ) -> Any:
        size = self.size or target.shape[-3:-1]
        pred, target = (self._resize(x, size) for x in (pred, target))
        return super().get_state(pred=pred, target=target, mask=mask)

    def _resize(self, images: Array, size: Any) -> jax.Array:
        images = jnp.asarray(images)
        if images.ndim < 3:
            raise ValueError(
                f"PsnrWithResize needs images `f[*b h w c]`: got shape {images.shape}."
            )
        if images.shape[-3:-1] == tuple(size):
            return images
        images = arrays.to_float(images)
        shape = (*images.shape[:-3], *size, images.shape[-1])
        return jax.image.resize(images, shape, method=self.method)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FidWithStats(metrics.Metric):
    """Fréchet distance of features from statistics that are stored in a file.

    Attributes:
      preds: Key to features, `Float["*b n"]`.
      mask: Key to weights, `Array["*b 1"]`.
      stats_path: An `.npz` file with the mean `mu`, `Float["n"]`, and the covariance
        `sigma`, `Float["n n"]`, of the other features.

    Returns of `compute`: the distance; NaN if there were no features.

    Raises:
      ValueError: If the file has other entries, or they don't fit the features.

    Reference: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """

    preds: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    stats_path: epath.PathLike

    @flax.struct.dataclass
    class State(metrics.AutoState["FidWithStats"]):
        """The moments of the features."""

        preds: Any = metrics.state_field()

        def compute(self) -> np.ndarray:
            if not isinstance(self.preds, metrics.CovarianceState):
                return np.full((), np.nan)
            mean, covariance = self.preds.moments()
            other_mean, other_covariance = self.parent._stats
            return metrics.frechet_distance(
                mean, covariance, other_mean, other_covariance
            )

    @functools.cached_property
    def _stats(self) -> tuple[np.ndarray, ...]:
        with epath.Path(self.stats_path).open("rb") as file, np.load(file) as stats:
            if not {"mu", "sigma"} <= set(stats):
                raise ValueError(
                    f"{self.stats_path} needs the arrays `mu` and `sigma`: it has "
                    f"{sorted(stats)}."
                )
            return tuple(np.asarray(stats[k], np.float64) for k in ("mu", "sigma"))

    @typechecked
    def get_state(
        self, preds: Array["*b n"], mask: Array | float | None = None
    ) -> State:
        if self._stats[0].shape != preds.shape[-1:]:
            raise ValueError(
                f"FidWithStats: key {self.preds!r} has {preds.shape[-1]} features, and "
                f"{self.stats_path} a mean of shape {self._stats[0].shape}."
            )
        return self.State(preds=metrics.CovarianceState.from_values(preds, mask=mask))
