"""Where a NIfTI header places the voxels: it may say so twice, or not at all.

The rule is nibabel's: the sform if its code is not 0, else the qform, else a guess.
SimpleITK has another rule, so files exist that two programs read 11 cm apart; we say so.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from kauldron.volumes.geometry.base import Geometry, Shape
from kauldron.volumes.geometry.errors import VolumeError

# World of NIfTI: x to the right, y to the front (RAS). Ours: left, back (LPS).
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_OF_UNIT = {1: 1000.0, 3: 0.001}
_UNIT_NAMES = {1: "metres", 3: "micrometres"}


def placement(
    path: pathlib.Path, header: Any, shape: Shape
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the affine of a header, and what is to be told about it.

    The affine, `f64[4 4]`, leads from (x, y, z) to RAS millimetres.
    """
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    if not s_code or q_code:
        _check_pixdim(path, header, is_used=not s_code)
    affine = header.get_best_affine()
    geometry = geometry_of(affine)  # tells of a spacing of 0
    notes = []
    if s_code and q_code:
        notes += _compare(header, shape, s_code, q_code)
    elif not s_code and not q_code:
        notes.append(
            "No placement: sform_code and qform_code are 0. The volume is centred and x "
            "flipped, as nibabel does; SimpleITK puts the first voxel at the origin."
        )
    unit = int(header["xyzt_units"]) & 7
    if unit in _MM_OF_UNIT:
        affine = np.diag([_MM_OF_UNIT[unit]] * 3 + [1.0]) @ affine
        notes.append(
            f"Unit: lengths are in {_UNIT_NAMES[unit]}, and converted to mm; nibabel "
            "gives them as they are."
        )
    if geometry.is_sheared:
        notes.append(
            "Shear: the axes are not at right angles; SimpleITK takes the qform instead, "
            "or refuses the file."
        )
    return affine, tuple(notes)


def geometry_of(affine: np.ndarray) -> Geometry:
    """Returns the geometry of `f64[4 4]` from (x, y, z) to RAS millimetres."""
    affine = _TO_LPS @ affine
    return Geometry(matrix=affine[:3, 2::-1], origin=affine[:3, 3])


def affine_of(geometry: Geometry) -> np.ndarray:
    """Returns what `geometry_of` reads."""
    affine = np.eye(4)
    affine[:3, 2::-1] = geometry.matrix
    affine[:3, 3] = geometry.origin
    return _TO_LPS @ affine


def _check_pixdim(path: pathlib.Path, header: Any, *, is_used: bool) -> None:
    pixdim = header["pixdim"]
    if pixdim[0] not in (-1, 1):
        pixdim[0] = 1  # as the standard says of 0
    if is_used and not (pixdim[1:4] > 0).all():
        raise VolumeError(
            f"{path}: the spacing (pixdim) is {tuple(map(float, pixdim[1:4]))} along "
            "(x, y, z), and must be above 0. Correct the header, such as with nibabel: "
            "`header.set_zooms`."
        )


def _compare(header: Any, shape: Shape, s_code: int, q_code: int) -> list[str]:
    sform = header.get_sform()
    try:
        qform = header.get_qform()
    except ValueError:  # nibabel: the quaternion is longer than 1
        return ["Bad qform: its quaternion is no rotation. The sform is used."]
    ends = [(0, size - 1) for size in reversed(shape)]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
    offset = (sform - qform)[:3]
    apart = np.linalg.norm(corners @ offset[:, :3].T + offset[:, 3], axis=-1).max()
    # The qform has rounded quaternions.
    if not apart > 1e-2 * max(np.abs(sform[:3, :3]).max(), 1e-6):
        return []
    # SimpleITK: the sform if its code is 1, or if axes are mirrored and nothing else.
    between = np.linalg.solve(sform, qform)
    is_mirrored = np.allclose(np.abs(between), np.eye(4), atol=1e-4)
    other = "it, too" if s_code == 1 or is_mirrored else f"the qform (code {q_code})"
    return [
        f"Two placements: sform and qform put voxels up to {apart:.3g} mm apart. The "
        f"sform (code {s_code}) is used, as by nibabel; SimpleITK uses {other}."
    ]
