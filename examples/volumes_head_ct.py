"""A CT of a head without any training: windows, bone by its density, millimetres.

    kauldron data fetch head_ct
    python -m examples.volumes_head_ct runs/head_ct

Slices of this CT are 1.5 mm apart, its pixels 0.96 mm, and rows go from the back of the head
to the face: what is measured in voxels without the geometry is wrong. It writes
`head_ct/bone.nii.gz`, in the axes of the file, and pictures in two windows.
"""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np

from kauldron import kd

# Hounsfield units: air is -1000, water 0. This is where the bone mask that comes with the CT
# begins.
BONE_HU = 226
WINDOWS_HU = {"soft": (-160, 240), "bone": (-500, 1300)}


def windowed(ct: kd.volumes.Image, low: float, high: float) -> kd.volumes.Image:
    """Returns the values of a window as radiologists see them, from 0 to 1."""
    tf = kd.volumes.transforms
    chain = tf.Chain([tf.Clip(low=low, high=high), tf.Normalize(low=low, high=high)])
    array, geometry, _ = chain.forward(ct.array, ct.geometry)
    return kd.volumes.Image(array, geometry)


def largest(mask: np.ndarray) -> np.ndarray:
    """Returns the largest piece of a mask; voxels that meet at a corner hang together."""
    from scipy import ndimage

    pieces = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3,) * mask.ndim), output=pieces)
    sizes = np.bincount(pieces.reshape(-1))
    return pieces == 1 + np.argmax(sizes[1:])


def volume_ml(mask: kd.volumes.Image) -> float:
    """Returns how much a mask holds."""
    voxel_mm3 = abs(np.linalg.det(mask.geometry.matrix))
    return float(np.count_nonzero(mask.array) * voxel_mm3 / 1000)


def measure(
    ct: kd.volumes.Image, masks: dict[str, kd.volumes.Image]
) -> dict[str, float]:
    """Returns what can be said of the bone, by name.

    Args:
      ct: In Hounsfield units.
      masks: `bone` and `skin` (all of the head that is no air), on the same grid.
    """
    tf, metrics = kd.volumes.transforms, kd.volumes.metrics
    dense = ct.array[..., 0] >= BONE_HU
    # Without the head rest, which is as dense.
    bone = kd.volumes.Image(largest(dense).astype(np.uint8), ct.geometry)
    head = largest(masks["skin"].array[..., 0])
    # The same on cubes of 1 mm in the axes of the world, and back to the grid of the file.
    cubes = tf.Chain([tf.Reorient(), tf.Resample(spacing_mm=1.0)])
    array, geometry, undo = cubes.forward(ct.array.astype(np.float32), ct.geometry)
    cubes_of_bone = largest(array[..., 0] >= BONE_HU).astype(np.uint8)
    on_cubes = kd.volumes.Image(cubes_of_bone, geometry)
    back, _ = cubes.inverse(on_cubes.array, geometry, undo, kind="label")
    pair = (bone.array[..., 0], head)
    return {
        "voxels_unlike_the_mask": float((dense != masks["bone"].array[..., 0]).sum()),
        "bone_ml": volume_ml(bone),
        "bone_ml_on_cubes": volume_ml(on_cubes),
        "dice_of_there_and_back": metrics.dice(back[..., 0], bone.array[..., 0]),
        "surfaces_apart_mm": metrics.surface_distance(
            *pair, spacing_mm=ct.geometry.matrix, pooling="directed_mean"
        ),
        "surfaces_apart_voxels": metrics.surface_distance(
            *pair, pooling="directed_mean"
        ),
    }


def main(
    out: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> None:
    """Measures the bone, prints what is found, and writes it.

    Args:
      out: The folder that is made.
      folder: Where the CT is, `head/{ct,bone,skin}.mha`; by default what `kauldron data
        fetch head_ct` gets.
    """
    root = pathlib.Path(folder) if folder else kd.data.fetch("head_ct")
    ct, *both = (
        kd.volumes.read(root / "head" / f"{name}.mha")
        for name in ("ct", "bone", "skin")
    )
    print(ct)
    for name, value in measure(
        ct, dict(zip(("bone", "skin"), both, strict=True))
    ).items():
        print(f"{name:24} {value:.3f}")
    target = pathlib.Path(out)
    target.mkdir(parents=True, exist_ok=True)
    bone = largest(ct.array[..., 0] >= BONE_HU).astype(np.uint8)
    kd.volumes.write(target / "bone.nii.gz", kd.volumes.Image(bone, ct.geometry))
    for name, (low, high) in WINDOWS_HU.items():
        picture = kd.volumes.views(
            windowed(ct, low, high), contours=[bone], vrange=(0.0, 1.0)
        )
        picture.save(target / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
