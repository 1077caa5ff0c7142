"""`Output`: what is written of each case, on the grid of a file of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kauldron import kontext
from kauldron.volumes import transforms
from kauldron.volumes.cases import dataset
from kauldron.volumes.cases import groups as groups_lib
from kauldron.volumes.geometry.base import Geometry, Image
from kauldron.volumes.prediction import combining

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

    def combined(self, members: Sequence[np.ndarray], geometry: Geometry) -> np.ndarray:
        """Returns one volume on the grid that the model sees.

        Args:
          members: `f32[z y x c]` of each.
          geometry: Of this grid.
        """
        members = [_applied(self.each, x, geometry) for x in members]
        become = (combining.COMBINATIONS | combining.DOUBTS)[self.of]
        return _applied(self.post, become(members), geometry)

    def restored(
        self, array: np.ndarray, cases: dataset.VolumeCases, case: str
    ) -> Image:
        """Returns a volume on the grid of the file.

        Args:
          array: On the grid that the model sees.
          cases: Where the case is from.
          case: Its name.
        """
        group = groups_lib.as_groups(cases.groups)[self.like]
        opened = cases.open(case, self.like)
        chain = transforms.Chain(group.transform_list)
        is_label = array.dtype.kind in "iub"
        array, geometry = chain.inverse(
            array,
            opened.geometry,
            opened.undo,
            kind="label" if is_label else self.kind,
        )
        array = _applied(self.final, array, geometry)
        return Image(_small(array), geometry)


def _applied(steps: Sequence[Any], array: np.ndarray, geometry: Geometry) -> np.ndarray:
    for step in steps:
        array, geometry, _ = step.forward(array, geometry)
    return array


def _small(array: np.ndarray) -> np.ndarray:
    """Returns labels in the smallest dtype that every format holds, scores in f32."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iu":
        return array.astype(np.float32)
    for dtype in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if array.size and limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(dtype)
    return array
