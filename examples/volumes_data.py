"""Brains: slabs of an average one, pairs of which the warp is known, one and its mirror.

The average brain of MNI is that of 152 people, and a mirror image of itself: a hemisphere tells all
of the other. So cases are slabs along y, from the back of the head to the front, with 16 mm
between those to learn from and those to be measured on.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kd

# Beginning and end along y, as shares of its length: 233 voxels of 1 mm.
SLABS = {
    "train_back": (16 / 233, 76 / 233),
    "train_middle": (76 / 233, 136 / 233),
    "test_front": (152 / 233, 182 / 233),
    "test_forehead": (182 / 233, 208 / 233),
}
_IMAGES = ("t1", "gm", "wm")
_TISSUES = (1, 2, 3)  # fluid, grey matter, white matter


def cases(folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns a folder with a case for each slab, which is made if it is not there.

    Each case has, as `uint8`:

    - `t1.nii.gz`: the image;
    - `tissue.nii.gz`: 0 outside, 1 fluid, 2 grey and 3 white matter, whichever has the
      largest share;
    - `grey.nii.gz`: the share of grey matter, 255 is all; 0 outside;
    - `tissue_by_threshold.nii.gz`, `grey_by_intensity.nii.gz`: what the intensity of a
      voxel alone says about it, by the two thresholds that are best for the slabs to learn
      from, and by the mean of theirs that have this intensity.

    Args:
      folder: Where the brain is, `icbm152/{t1,gm,wm}.nii.gz`; by default what `kauldron
        data fetch mni` gets.
    """
    return _made("slabs", _root(folder), _write_cases)


def mirrored(folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns a folder with a person's brain and its mirror image, made if not there.

    The case `ch2` has `t1.nii.gz`, `regions.nii.gz`, and `mirror_t1.nii.gz`,
    `mirror_regions.nii.gz`: left and right changed, in the voxels and in the names of
    regions. Those up to 108 are pairs: the odd one is left, the even one behind it right.

    Args:
      folder: Where the brain is, `ch2/{t1,regions}.nii.gz`; by default what `kauldron
        data fetch ch2` gets.
    """
    root = pathlib.Path(folder) if folder else kd.data.fetch("ch2")
    return _made("mirrored", root, _write_mirrored)


@dataclasses.dataclass(frozen=True)
class Slabs(os.PathLike[str]):
    """The folder that `cases` returns, which is asked for when data are first needed."""

    folder: str | None = None

    def __fspath__(self) -> str:
        return str(cases(self.folder))


@dataclasses.dataclass(frozen=True)
class Mirrored(os.PathLike[str]):
    """The folder that `mirrored` returns, likewise."""

    folder: str | None = None

    def __fspath__(self) -> str:
        return str(mirrored(self.folder))


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarpedPairs:
    """Pieces of the brain, and the same after a smooth deformation that is known.

    An element is `{"fixed", "moving": f32[*size 1]` in [0, 1]`, "points",
    "moved_points": f32[num_points 3]}`: the piece; the deformed one; points of the brain
    in the piece, and where they are in the deformed one, both in voxels.

    Attributes:
      split: `'train'` or `'test'`: of which slabs.
      num_pairs: How many; each has a deformation of its own.
      size: Voxels along (z, y, x).
      num_points: Points of each pair.
      max_mm: How far control points are shifted along each axis, at most; they are four
        times as far from each other.
      folder: As for `cases`.
    """

    split: str
    num_pairs: int
    size: tuple[int, int, int] = (64, 48, 64)
    num_points: int = 64
    max_mm: float = 8.0
    folder: str | None = None

    @functools.cached_property
    def _image(self) -> kd.volumes.Image:
        """The slabs of the split as one volume, since they lie side by side."""
        parts = [slab for name, slab in SLABS.items() if name.startswith(self.split)]
        image = _brain(_root(self.folder))["t1"]
        return _cut(image, min(parts)[0], max(parts)[1])

    @functools.cached_property
    def _brain_voxels(self) -> np.ndarray:
        return np.flatnonzero(self._image.array)

    def __len__(self) -> int:
        return self.num_pairs

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.split == "test", index))
        image = self._image
        size, shape = np.array(self.size), np.array(image.shape)
        middle = np.array(np.unravel_index(rng.choice(self._brain_voxels), shape))
        start = (middle - size // 2).clip(0, shape - size)
        stop = start + size
        region = kd.volumes.Region(tuple(start.tolist()), tuple(stop.tolist()))
        fixed = image.array[region.slices]
        drawn = self._augment.draw(
            int(rng.integers(2**31)), 0, self.split, index, image.shape, image.geometry
        )
        moving = drawn.apply(image.array, image.geometry, region=region)
        # Points at the edges would leave the piece.
        points = np.argwhere(fixed[..., 0] > 0)
        inner = ((points >= size // 8) & (points < size - size // 8)).all(1)
        points = points[inner] if inner.any() else points
        points = start + points[rng.integers(len(points), size=self.num_points)]
        moved = drawn.points(image.geometry.to_world(points))
        return {
            "fixed": fixed.astype(np.float32) / 255,
            "moving": moving.astype(np.float32) / 255,
            "points": (points - start).astype(np.float32),
            "moved_points": (image.geometry.to_index(moved) - start).astype(np.float32),
        }

    @property
    def _augment(self) -> kd.volumes.augment.Augment:
        augment = kd.volumes.augment
        return augment.Augment(
            [
                augment.Rotate(degrees=4.0),
                augment.Translate(max_mm=self.max_mm / 2),
                augment.Elastic(spacing_mm=4 * self.max_mm, max_mm=self.max_mm),
            ]
        )


def carried(labels: Any, field: Any) -> Any:
    """Returns labels of the nearest voxels to where a field leads.

    Args:
      labels: `i[b z y x 1]`.
      field: `f32[b z y x 3]`, displacements in voxels.
    """
    size = jnp.array(labels.shape[1:4])

    def carry(labels: Any, field: Any) -> Any:
        places = jnp.moveaxis(jnp.indices(labels.shape[:3]), 0, -1) + field
        nearest = jnp.clip(jnp.round(places).astype(int), 0, size - 1)
        return labels[tuple(jnp.moveaxis(nearest, -1, 0))]

    return jax.vmap(carry)(labels, field)


def thresholds(t1: np.ndarray, tissue: np.ndarray) -> tuple[int, int]:
    """Returns the last intensities of fluid and of grey matter, by the best mean Dice."""
    counts = np.stack([_histogram(t1[tissue == label]) for label in _TISSUES])
    below = np.cumsum(counts, axis=1)
    total, all_below = below[:, -1], below.sum(0)
    low, high = np.arange(256)[:, None], np.arange(256)[None]
    dice = [
        2 * right / np.maximum(size + total[i], 1)
        for i, (right, size) in enumerate(
            [
                (below[0, low], all_below[low]),
                (below[1, high] - below[1, low], all_below[high] - all_below[low]),
                (total[2] - below[2, high], all_below[-1] - all_below[high]),
            ]
        )
    ]
    mean = np.where(low < high, sum(dice), -1)
    best = np.unravel_index(mean.argmax(), mean.shape)
    return int(best[0]), int(best[1])


def _made(
    name: str,
    root: pathlib.Path,
    write: Callable[[pathlib.Path, pathlib.Path], None],
) -> pathlib.Path:
    """Returns a folder in another one, which is complete if it is there."""
    target = root / name
    if not target.is_dir():
        work = pathlib.Path(tempfile.mkdtemp(dir=root, prefix=f".{name}-"))
        try:
            write(root, work)
            work.rename(target)
        except OSError:  # written by another process meanwhile?
            if not target.is_dir():
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


def _write_mirrored(root: pathlib.Path, folder: pathlib.Path) -> None:
    swapped = np.arange(256, dtype=np.uint8)
    swapped[1:109] = swapped[1:109].reshape(-1, 2)[:, ::-1].reshape(-1)
    (folder / "ch2").mkdir()
    for name in ("t1", "regions"):
        image = kd.volumes.read(root / "ch2" / f"{name}.nii.gz")
        mirror = image.array[:, :, ::-1]
        if name == "regions":
            mirror = swapped[mirror]
        for prefix, array in (("", image.array), ("mirror_", mirror)):
            kd.volumes.write(
                folder / "ch2" / f"{prefix}{name}.nii.gz",
                kd.volumes.Image(np.ascontiguousarray(array), image.geometry),
            )


def _root(folder: str | os.PathLike[str] | None) -> pathlib.Path:
    return pathlib.Path(folder) if folder else kd.data.fetch("mni")


@functools.lru_cache(maxsize=1)
def _brain(root: pathlib.Path) -> Mapping[str, kd.volumes.Image]:
    return {
        name: kd.volumes.read(root / "icbm152" / f"{name}.nii.gz") for name in _IMAGES
    }


def _cut(image: kd.volumes.Image, begin: float, end: float) -> kd.volumes.Image:
    num_rows = image.shape[1]
    rows = slice(round(begin * num_rows), round(end * num_rows))
    geometry = image.geometry.moved((0, rows.start, 0))
    return kd.volumes.Image(image.array[:, rows], geometry)


def _write_cases(root: pathlib.Path, folder: pathlib.Path) -> None:
    brain = _brain(root)
    geometry = brain["t1"].geometry
    t1, grey, white = (brain[name].array for name in _IMAGES)
    is_brain = t1 > 0
    grey = np.where(is_brain, grey, 0)
    shares = [255 - grey.astype(int) - white, grey, white]
    tissue = np.where(is_brain, 1 + np.argmax(shares, axis=0), 0).astype(np.uint8)
    begin, end = SLABS["train_back"][0], SLABS["train_middle"][1]
    known = {
        name: _cut(kd.volumes.Image(array), begin, end).array
        for name, array in {"t1": t1, "grey": grey, "tissue": tissue}.items()
    }
    low, high = thresholds(known["t1"], known["tissue"])
    is_known = known["t1"] > 0
    intensity, share = known["t1"][is_known], known["grey"][is_known]
    sums = np.bincount(intensity, weights=share, minlength=256)
    mean = np.round(sums / np.maximum(_histogram(intensity), 1))
    whole = {
        "t1": t1,
        "grey": grey,
        "tissue": tissue,
        "tissue_by_threshold": np.where(
            is_brain, 1 + (t1 > low).astype(np.uint8) + (t1 > high), 0
        ),
        "grey_by_intensity": np.where(is_brain, mean[t1], 0),
    }
    for case, slab in SLABS.items():
        (folder / case).mkdir()
        for name, array in whole.items():
            image = kd.volumes.Image(array.astype(np.uint8), geometry)
            kd.volumes.write(folder / case / f"{name}.nii.gz", _cut(image, *slab))


def _histogram(values: np.ndarray) -> np.ndarray:
    return np.bincount(values.reshape(-1), minlength=256)
