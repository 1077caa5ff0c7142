"""`Output`: what is written of each case, on the grid of a file of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from kauldron import kontext
from kauldron.volumes import transforms
from kauldron.volumes.cases import dataset
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Geometry, Image, Region, Shape
from kauldron.volumes.prediction import _parts, combining
from kauldron.volumes.transforms import base as transforms_base
from kauldron.volumes.transforms import chain

_WHAT = (*combining.COMBINATIONS, *combining.DOUBTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """One volume that is written for each case.

    In this order: `each` is applied to what every member predicts, they become one (`of`),
    `post` follows, the transforms of the group `like` are undone, `final` follows, and the
    volume is written with the geometry of the file of `like`.

    Labels go back to the nearest voxel, scores are interpolated. What was cropped away
    is 0 then, which is the first class for `final=[Argmax()]` behind `post=[Softmax()]`.

    Attributes:
      key: Key to what the model predicts, such as `'preds.logits'`.
      like: Group whose transforms are undone, and whose file says where voxels are.
      of: What many predictions come to: `'mean'`, `'median'`, `'vote'` (the share of each
        class), `'stack'` (all, as channels), or their doubt: `'variance'`, `'entropy'` (of
        mean probabilities, in nats), `'disagreement'` (share that is not of the most
        frequent label).
      each: Transforms of `kd.volumes.transforms` for each member.
      post: Transforms on the grid that the model sees.
      final: Transforms on the grid of the file.
      kind: What the values are. Of `'map'`, `'label'` (what is integer is one) only places
        are undone, of `'image'` also the values: a made up CT is written in Hounsfield
        units.
      suffix: Of the files; says the format.

    Raises:
      VolumeError: If there is no such combination.
    """

    key: kontext.Key = kontext.REQUIRED
    like: str
    of: str = "mean"
    each: Sequence[Any] = ()
    post: Sequence[Any] = ()
    final: Sequence[Any] = ()
    kind: transforms.Kind = "map"
    suffix: str = ".nii.gz"

    def __post_init__(self) -> None:
        combining.check(self.of, _WHAT, "Output.of")

    def opened(
        self,
        members: Sequence[Any],
        geometry: Geometry,
        cases: dataset.VolumeCases,
        case: str,
    ) -> chain.Opened:
        """Returns the volume on the grid of the file, to be read by regions.

        Args:
          members: What each predicts, `f32[z y x c]`: arrays, or `Parts`.
          geometry: Of the grid that the model sees.
          cases: Where the case is from.
          case: Its name.
        """
        shape = transforms_base.as_shape(members[0].shape[:3])
        each = [
            _behind(functools.partial(_parts.read, x), self.each, shape, geometry)
            for x in members
        ]
        become = (combining.COMBINATIONS | combining.DOUBTS)[self.of]
        seen = _behind(
            lambda region: become([x.read(region) for x in each]),
            self.post,
            each[0].shape,
            each[0].geometry,
        )
        voxel = seen.read(Region((0, 0, 0), (1, 1, 1)))
        kind = "label" if voxel.dtype.kind in "iub" else self.kind
        like = cases.open(case, self.like)
        group = groups_lib.as_groups(cases.groups)[self.like]
        back = chain.Chain(group.transform_list).way_back(like.undo, kind=kind)
        return _behind(seen.read, [back, *self.final], seen.shape, like.geometry)


def as_image(volume: chain.Opened) -> Image:
    """Returns what is written, all of it in memory."""
    array = volume.read()
    array = array.astype(written_dtype([array]), copy=False)
    return Image(array, volume.geometry)


def written_dtype(parts: Iterable[np.ndarray]) -> np.dtype:
    """Returns the smallest dtype of labels that every format holds, f32 of scores.

    Args:
      parts: Of the volume; as many are looked at as are needed.
    """
    low, high, dtype = 0, 0, np.dtype(np.float32)
    for array in parts:
        dtype = array.dtype
        if dtype.kind == "b" or dtype == np.uint8:
            return np.dtype(np.uint8)
        if dtype.kind not in "iu":
            return np.dtype(np.float32)
        if array.size:
            low, high = min(low, int(array.min())), max(high, int(array.max()))
    for small in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(small)
        if limits.min <= low and high <= limits.max:
            return np.dtype(small)
    return dtype


def _behind(
    read: chain.Read, steps: Sequence[Any], shape: Shape, geometry: Geometry
) -> chain.Opened:
    return chain.opened(read, chain.Chain(steps), shape=shape, geometry=geometry)
