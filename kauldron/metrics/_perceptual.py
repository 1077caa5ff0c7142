"""Perceptual image metrics: LPIPS and FID."""

from __future__ import annotations

import dataclasses

import flax.struct
from etils import epath

from kauldron import kontext
from kauldron.ktyping import Array, typechecked
from kauldron.metrics import (
    _features,
    _inception,
    _vgg,
    _weights,
    base,
    base_state,
    image,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LpipsVgg(base.Metric):
    """Perceptual distance of images by a VGG network (LPIPS), averaged over images.

    Attributes:
      pred: Key to images, `Float["*b h w 1|3"]`, at least 16 pixels high and wide.
      target: Key to images of the same shape.
      mask: Key to weights of the images, `Array["*b"]` or `Array["*b 1"]`.
      in_vrange: Range of the values; it is mapped to [-1, 1].
      weights: File with the weights of the network, made once by
        `kd.metrics.networks.convert_lpips_vgg` and `save`. It is read once a process.

    Raises:
      FileNotFoundError: If there are no weights.
      ValueError: If the shapes differ or are not those of images, or the file does not
        hold the weights.

    Reference: Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric, eq. 1, arXiv:1801.03924 (version 0.1 of the weights).
    """

    pred: kontext.Key = kontext.REQUIRED
    target: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    in_vrange: tuple[float, float] = (0.0, 1.0)
    weights: epath.PathLike | None = None

    @flax.struct.dataclass
    class State(base_state.AverageState):
        pass

    @typechecked
    def get_state(
        self,
        pred: Array["*b h w 1|3"],
        target: Array["*b h w 1|3"],
        mask: Array | float | None = None,
    ) -> State:
        image.check_images("LPIPS", pred, target, min_size=_vgg.MIN_SIZE)
        _check_channels(self, pred)
        weights = _weights.load(
            self.weights,
            names=_vgg.NAMES,
            metric="LpipsVgg",
            converter="convert_lpips_vgg",
        )
        pred, target = (
            image.rescale_image(x, self.in_vrange, (-1, 1)) for x in (pred, target)
        )
        values = _vgg.lpips_vgg(weights, pred, target)
        return self.State.from_values(values, mask=mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fid(base.Metric):
    """Fréchet distance of Inception features of two sets of images (FID).

    It depends on the number of images: compare only values from as many, and at least
    2,048. `FrechetDistance` takes features of other networks.

    Attributes:
      pred: Key to generated images, `Float["*b h w 1|3"]`.
      target: Key to real images, `Float["*b h w 1|3"]`, as many.
      mask: Key to weights of both, `Array["*b"]` or `Array["*b 1"]`.
      in_vrange: Range of the values; it is mapped to [-1, 1].
      weights: File with the weights of the network, made once by
        `kd.metrics.networks.convert_inception` and `save`. It is read once a process.

    Raises:
      FileNotFoundError: If there are no weights.
      ValueError: If these are not images, or the file does not hold the weights.

    Reference: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, eq. 6,
    arXiv:1706.08500.
    """

    pred: kontext.Key = kontext.REQUIRED
    target: kontext.Key = kontext.REQUIRED
    mask: kontext.Key | None = None
    in_vrange: tuple[float, float] = (0.0, 1.0)
    weights: epath.PathLike | None = None

    State = _features.FrechetDistance.State

    @typechecked
    def get_state(
        self,
        pred: Array["*b _h _w 1|3"],
        target: Array["*b _h _w 1|3"],
        mask: Array | float | None = None,
    ) -> _features.FrechetDistance.State:
        weights = None
        features = []
        for x in (pred, target):
            image.check_images("FID", x, x, min_size=1)
            _check_channels(self, x)
            if weights is None:
                weights = _weights.load(
                    self.weights,
                    names=_inception.NAMES,
                    metric="Fid",
                    converter="convert_inception",
                )
            x = image.rescale_image(x, self.in_vrange, (-1, 1))
            features.append(_inception.inception_features(weights, x))
        preds, targets = (
            _features.CovarianceState.from_values(x, mask=mask) for x in features
        )
        return self.State(preds=preds, targets=targets)


def _check_channels(metric: object, images: Array) -> None:
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{type(metric).__name__} needs images of 1 or 3 channels: got shape "
            f"{images.shape}."
        )
