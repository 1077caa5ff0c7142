"""The metadata of OME-Zarr: axes, levels, and where their voxels are.

Reference: OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kauldron._base import errors
from kauldron.volumes.geometry.base import Geometry
from kauldron.volumes.geometry.errors import VolumeError

_MM_OF_UNIT = {
    "millimeter": 1.0,
    "micrometer": 1e-3,
    "nanometer": 1e-6,
    "centimeter": 10.0,
    "meter": 1e3,
}
# Old files and other programs abbreviate.
_MM_OF_UNIT |= {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "nm": 1e-6, "cm": 10.0, "m": 1e3}


def multiscale_of(path: pathlib.Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the first pyramid of a group."""
    found = (attributes.get("ome") or attributes).get("multiscales")
    if not found or not found[0].get("datasets"):
        raise VolumeError(
            f"{path} is a Zarr without the metadata of OME (`multiscales`): it holds "
            f"{', '.join(attributes) or 'no attributes'}."
        )
    return found[0]


def level_of(path: pathlib.Path, multiscale: dict[str, Any], inner: str) -> str:
    """Returns the path of a level inside of the group, the finest unless said."""
    levels = [dataset["path"] for dataset in multiscale["datasets"]]
    if inner and inner not in levels:
        raise VolumeError(
            f"{path} has no level {inner!r}.{errors.did_you_mean(inner, levels)} There "
            f"are {', '.join(levels)}."
        )
    return inner or levels[0]


def axes_of(
    path: pathlib.Path, multiscale: dict[str, Any], shape: tuple[int, ...]
) -> str:
    """Returns a letter for each axis: z, y, x, c; `-` for times or channels of size 1."""
    names = [_axis(axis)["name"] for axis in multiscale.get("axes") or "tczyx"]
    letters = ""
    for name, size in zip(names, shape, strict=True):
        is_space = name in ("z", "y", "x")
        letters += name if is_space else "c" if size > 1 else "-"
    if letters.count("c") > 1 or not {"y", "x"} <= set(letters):
        sizes = ", ".join(f"{n}={s}" for n, s in zip(names, shape, strict=True))
        raise VolumeError(
            f"{path}: the axes {sizes} are no volume: z, y, x, and one of channels or "
            "times."
        )
    return letters


def geometry_of(
    path: pathlib.Path,
    attributes: Mapping[str, Any],
    multiscale: dict[str, Any],
    level: str,
) -> tuple[Geometry, tuple[str, ...]]:
    """Returns the geometry of a level, and what is to be told about it."""
    notes: list[str] = []
    units = _units(path, multiscale, notes)
    first = multiscale["datasets"][0]["path"]
    scale_0, offset_0 = _placement(multiscale, first, units)
    scale, offset = _placement(multiscale, level, units)
    exact = attributes.get("kauldron")
    if exact is None:
        notes.append(
            "Directions: OME-Zarr has none. The axes are taken as those of the world."
        )
        geometry = Geometry.make(scale_0.tolist(), offset_0[::-1].tolist())
    else:
        geometry = Geometry(matrix=exact["matrix"], origin=exact["origin"])
        if not is_straight(geometry):
            notes.append(
                "Directions: OME-Zarr has none. They are in an attribute of ours, and "
                "other programs see the spacing only."
            )
    if level != first:
        index = (offset - offset_0) / scale_0
        geometry = Geometry(
            matrix=geometry.matrix * (scale / scale_0), origin=geometry.to_world(index)
        )
    return geometry, tuple(notes)


def is_straight(geometry: Geometry) -> bool:
    """Whether the axes are those of the world."""
    straight = Geometry.make(geometry.spacing_mm.tolist()).matrix
    return bool(np.abs(geometry.matrix - straight).max() < 1e-9)


def make(geometry: Geometry, num_levels: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    """Returns the attributes of a group.

    Args:
      geometry: Of the first level.
      num_levels: For each level, how much larger its voxels are, and the index of its
        first voxel in the first level; along (z, y, x).
    """
    offset = geometry.origin[::-1] if is_straight(geometry) else np.zeros(3)
    spacing = geometry.spacing_mm
    datasets = [
        {
            "path": str(i),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, *(factor * spacing).tolist()]},
                {
                    "type": "translation",
                    "translation": [0.0, *(offset + start * spacing).tolist()],
                },
            ],
        }
        for i, (factor, start) in enumerate(num_levels)
    ]
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    return {
        "ome": {
            "version": "0.5",
            "multiscales": [{"name": "volume", "axes": axes, "datasets": datasets}],
        },
        "kauldron": {
            "matrix": geometry.matrix.tolist(),
            "origin": geometry.origin.tolist(),
        },
    }


def _axis(axis: Any) -> dict[str, Any]:
    return {"name": axis} if isinstance(axis, str) else axis


def _units(
    path: pathlib.Path, multiscale: dict[str, Any], notes: list[str]
) -> np.ndarray:
    """Returns the millimetres of a unit along (z, y, x)."""
    units = np.ones(3)
    for axis in map(_axis, multiscale.get("axes") or "tczyx"):
        if axis["name"] not in ("z", "y", "x"):
            continue
        unit = axis.get("unit")
        if unit is None:
            if not notes:
                notes.append("Unit: the axes have none. Lengths are taken as mm.")
        elif unit in _MM_OF_UNIT:
            units["zyx".index(axis["name"])] = _MM_OF_UNIT[unit]
        else:
            raise VolumeError(
                f"{path}: the unit {unit!r} of the axis {axis['name']} is not known. "
                f"Known are {', '.join(_MM_OF_UNIT)}."
            )
    return units


def _placement(
    multiscale: dict[str, Any], level: str, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and translation of a level, in mm along (z, y, x)."""
    names = [_axis(axis)["name"] for axis in multiscale.get("axes") or "tczyx"]
    scale, offset = np.ones(3), np.zeros(3)
    (dataset,) = (d for d in multiscale["datasets"] if d["path"] == level)
    for step in [
        *dataset.get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]:
        values = dict(zip(names, step.get(step["type"], []), strict=False))
        vector = [values.get(name) for name in "zyx"]
        if step["type"] == "scale":
            factors = np.array([1.0 if v is None else v for v in vector])
            scale, offset = scale * factors, offset * factors
        elif step["type"] == "translation":
            offset = offset + np.array([0.0 if v is None else v for v in vector])
    return scale * units, offset * units
