"""Transforms of labels and class scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.transforms.base import (
    Halo,
    Kind,
    Part,
    PointTransform,
    Undo,
    VolumeTransform,
    as_shape,
    per_axis,
)


def check_labels(x: np.ndarray, name: str) -> None:
    """Raises an error unless an array holds labels: integers, one channel."""
    if x.dtype.kind not in "iub" or x.shape[3] != 1:
        raise VolumeError(
            f"`{name}` is for labels, integers of one channel: got {x.dtype} of the "
            f"shape {x.shape}. `Argmax` makes labels of class scores."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneHot(PointTransform):
    """Makes a channel of each label: 1.0 where it is, 0.0 elsewhere.

    Attributes:
      num_classes: Labels are below this number.
    """

    num_classes: int

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns `f32[z y x num_classes]`."""
        check_labels(x, "OneHot")
        if x.size and (x.min() < 0 or x.max() >= self.num_classes):
            raise VolumeError(
                f"`OneHot(num_classes={self.num_classes})` has no channel for some "
                f"labels: the volume has {_found(x)}. `SelectLabels` or `MergeLabels` "
                "before it says what becomes of them."
            )
        return (x == np.arange(self.num_classes)).astype(np.float32)

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the choice of the greatest channel."""
        del undo
        return Argmax()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Argmax(PointTransform):
    """Makes labels of class scores: the channel with the greatest, the first of equals."""

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns the smallest of `u8`, `u16`, `i32` that holds them, `[z y x 1]`."""
        dtype = np.min_scalar_type(x.shape[3] - 1)
        if dtype.itemsize > 2:
            dtype = np.dtype(np.int32)
        return np.argmax(x, axis=3, keepdims=True).astype(dtype)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Softmax(PointTransform):
    """Makes probabilities of logits: over the channels."""

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns `f32[z y x c]`, the channels of which sum up to 1."""
        y = x.astype(np.float32)
        y -= y.max(axis=3, keepdims=True)
        np.exp(y, out=y)
        y /= y.sum(axis=3, keepdims=True)
        return y


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Relabelled(PointTransform):
    """Labels by a table; those that are not in it become 0 or stay."""

    old: tuple[int, ...]
    new: tuple[int, ...]
    keep_others: bool = False

    def values(self, x: np.ndarray) -> np.ndarray:
        check_labels(x, "Labels")
        order = np.argsort(self.old)
        old, new = np.array(self.old)[order], np.array(self.new)[order]
        index = np.minimum(np.searchsorted(old, x), len(old) - 1)
        others = x if self.keep_others else 0
        return np.where(old[index] == x, new[index], others).astype(_fitting(x, new))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelectLabels(PointTransform):
    """Keeps some labels; the others become 0, the background.

    Attributes:
      labels: Those that are kept.
      renumber: Whether they become 1, 2, … in their order here. The inverse gives a
        volume of labels their numbers back.
    """

    labels: Sequence[int]
    renumber: bool = False

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise VolumeError(
                f"`SelectLabels.labels` names some labels, each once: got {self.labels}."
            )

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns labels in their type, or in a larger one that they need."""
        return _Relabelled(old=tuple(self.labels), new=self._numbers).values(x)

    @property
    def undone_for(self) -> tuple[Kind, ...]:
        """Labels have their numbers back."""
        return ("label",)

    def backward(self, undo: Undo) -> VolumeTransform:
        """Returns the table back."""
        del undo
        return _Relabelled(old=self._numbers, new=tuple(self.labels))

    @property
    def _numbers(self) -> tuple[int, ...]:
        count = len(self.labels)
        return tuple(range(1, count + 1)) if self.renumber else tuple(self.labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergeLabels(PointTransform):
    """Makes one label of several.

    Attributes:
      groups: The labels of group i become i + 1.
      keep_others: Whether labels in no group stay as they are; else they become 0.
    """

    groups: Sequence[Sequence[int]]
    keep_others: bool = False

    def __post_init__(self) -> None:
        labels = [label for group in self.groups for label in group]
        if not labels or len(set(labels)) < len(labels):
            raise VolumeError(
                "`MergeLabels.groups` are lists of labels, each label in one of them: "
                f"got {self.groups}."
            )

    def values(self, x: np.ndarray) -> np.ndarray:
        """Returns labels in their type, or in a larger one that they need."""
        pairs = [(old, i + 1) for i, group in enumerate(self.groups) for old in group]
        old, new = zip(*pairs, strict=True)
        return _Relabelled(old=old, new=new, keep_others=self.keep_others).values(x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dilate(VolumeTransform):
    """Lets labels grow over the background around them.

    Labels don't grow over each other; where several reach a voxel, the greatest gets it.

    Attributes:
      voxels: How far, along (z, y, x), or one for all.
      is_ball: Whether they grow by an ellipsoid, not a box.
    """

    voxels: int | Sequence[int] = 1
    is_ball: bool = False

    @property
    def reach(self) -> Halo:
        """As far as labels grow."""
        return Halo(as_shape(per_axis("voxels", self.voxels)))

    def compute(self, part: Part, region: Region) -> np.ndarray:
        """Returns the labels of a region."""
        from scipy import ndimage

        x = part.array
        check_labels(x, "Dilate")
        size = np.array(self.reach.voxels)
        index = np.indices(tuple((2 * size + 1).tolist())) - size[:, None, None, None]
        footprint = np.ones(index.shape[1:], bool)
        if self.is_ball:
            scaled = index / np.maximum(size, 1)[:, None, None, None]
            footprint = np.square(scaled).sum(axis=0) <= 1
        y = x[..., 0].astype(np.uint8) if x.dtype == np.bool_ else x[..., 0]
        largest = ndimage.maximum_filter(y, footprint=footprint, mode="nearest")
        grown = np.where(x[..., 0] == 0, largest, y)[..., None]
        return dataclasses.replace(part, array=grown.astype(x.dtype)).cropped(region)


def _found(x: np.ndarray) -> str:
    """Returns the labels of a volume as text, the first of many."""
    labels = np.unique(x).tolist()
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return f"{', '.join(map(str, labels[:10]))}{more}"


def _fitting(x: np.ndarray, new: np.ndarray) -> np.dtype:
    """Returns the type of the labels, or a larger one that holds new ones."""
    if x.dtype == np.bool_:
        return np.result_type(np.uint8, np.min_scalar_type(int(new.max())))
    limits = np.iinfo(x.dtype)
    if limits.min <= new.min() and new.max() <= limits.max:
        return x.dtype
    return np.dtype(np.int32)
