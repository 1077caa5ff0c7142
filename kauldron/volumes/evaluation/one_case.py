"""The measures of one case, from its files: whole, or slab by slab with the same values."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kauldron.volumes.evaluation import measures
from kauldron.volumes.evaluation.pairs import Pair
from kauldron.volumes.files import volume_files
from kauldron.volumes.geometry.base import Geometry, Image, Region
from kauldron.volumes.geometry.errors import VolumeError
from kauldron.volumes.metrics.case_state import CaseMetric, CaseState
from kauldron.volumes.metrics.region_members import OfSurfaces, distances_of

# Planes are read so many at a time that there are about as many voxels.
SLAB_VOXELS = 2**23


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slab:
    """Planes of a case: arrays `[z y x c]`, and where they are."""

    pred: np.ndarray
    ref: np.ndarray
    mask: np.ndarray | None
    region: Region
    geometry: Geometry


def measure(
    pair: Pair,
    names: Sequence[str],
    labels: Sequence[int] | None,
    options: measures.Options,
    *,
    slab_planes: int | None = None,
) -> dict[str, dict[str, float]]:
    """Returns measure -> label -> value of a case; the label of intensities is `''`.

    Args:
      pair: The files.
      names: The measures.
      labels: Which ones; those of the case, without 0, unless given.
      options: Of the measures.
      slab_planes: How many planes are read at a time where all measures allow it.

    Raises:
      VolumeError: If a file cannot be read, or holds no labels.
    """
    of_regions = measures.is_of_regions(names[0])
    if of_regions and labels is None:
        labels = labels_of(pair, slab_planes)
        if not labels:
            return {name: {} for name in names}
    metrics = {name: measures.make(name, labels or (1,), options) for name in names}
    is_whole = any(m.needs_whole_cases for m in metrics.values())
    states: dict[str, CaseState] = {}
    for slab in slabs(pair, None if is_whole else slab_planes, is_whole=is_whole):
        parts = _states(metrics, slab, pair, labels or (), of_regions=of_regions)
        for name, state in parts.items():
            states[name] = states[name].merge(state) if name in states else state
    return {name: state.table()[pair.case] for name, state in states.items()}


def slabs(
    pair: Pair, num_planes: int | None = None, *, is_whole: bool = False
) -> Iterator[Slab]:
    """Yields the planes of a case, so many at a time."""
    info = volume_files.info(pair.ref)
    z, y, x = info.shape
    if num_planes is None:
        num_planes = z if is_whole else max(1, SLAB_VOXELS // max(1, y * x))
    for start in range(0, z, num_planes):
        region = Region((start, 0, 0), (min(start + num_planes, z), y, x))
        arrays = [volume_files.read(p, region=region).array for p in pair.compared]
        mask = arrays[2][..., :1] != 0 if pair.mask else None
        yield Slab(
            pred=arrays[0],
            ref=arrays[1],
            mask=mask,
            region=region,
            geometry=info.geometry,
        )


def as_labels(path: Any, array: np.ndarray) -> np.ndarray:
    """Returns integers.

    Raises:
      VolumeError: If the values are none, or there are several channels.
    """
    if array.shape[-1] != 1:
        raise VolumeError(
            f"{path} has {array.shape[-1]} channels, and a label map has one: write the "
            "label of the highest."
        )
    if array.dtype.kind in "iub":
        return array
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        raise VolumeError(
            f"{path} holds numbers that are no labels, such as "
            f"{array[array != np.round(array)].ravel()[0]:g}: write labels, not "
            "probabilities."
        )
    return array.astype(np.int64)


def _states(
    metrics: dict[str, CaseMetric],
    slab: Slab,
    pair: Pair,
    labels: Sequence[int],
    *,
    of_regions: bool,
) -> dict[str, CaseState]:
    states = {}
    arguments: dict[str, Any] = {"case": [pair.case]}
    if slab.mask is not None:
        arguments["region_mask"] = slab.mask[None]
    if not of_regions:
        if slab.pred.shape != slab.ref.shape:
            raise VolumeError(
                f"{pair.pred} has {slab.pred.shape[-1]} channels, and {pair.ref} "
                f"{slab.ref.shape[-1]}."
            )
        arguments |= {"preds": slab.pred[None], "targets": slab.ref[None]}
        return {k: m.get_state(**arguments) for k, m in metrics.items()}
    pred, ref = as_labels(pair.pred, slab.pred), as_labels(pair.ref, slab.ref)
    distances = functools.cache(lambda: _distances(slab, pred, ref, labels))
    for name, metric in metrics.items():
        if isinstance(metric, OfSurfaces):  # one search for all of them
            states[name] = metric.state_of(distances(), pair.case)
        else:
            states[name] = metric.get_state(
                pred_labels=pred[None], labels=ref[None], **arguments
            )
    return states


def _distances(
    slab: Slab, pred: np.ndarray, ref: np.ndarray, labels: Sequence[int]
) -> list[Any]:
    mask = None if slab.mask is None else slab.mask[..., 0]
    steps = slab.geometry.matrix
    return distances_of(pred[..., 0], ref[..., 0], labels, spacing_mm=steps, mask=mask)


def labels_of(pair: Pair, slab_planes: int | None = None) -> list[int]:
    """Returns the labels that the files of a case have, without 0."""
    found: set[int] = set()
    for slab in slabs(pair, slab_planes):
        for path, array in ((pair.pred, slab.pred), (pair.ref, slab.ref)):
            found.update(np.unique(as_labels(path, array)).tolist())
    return sorted(int(x) for x in found if x)


def error_map(pair: Pair, *, of_regions: bool) -> Image:
    """Returns where a prediction is wrong.

    Of label maps, `u8`: 0 where it is right, 1 where there is no label but one was
    predicted, 2 where there is one but none was, 3 where another was. Of intensities,
    the prediction minus the reference, `f32`. 0 where nothing counts.
    """
    (slab,) = slabs(pair, is_whole=True)
    if of_regions:
        a, b = as_labels(pair.pred, slab.pred), as_labels(pair.ref, slab.ref)
        kinds = np.where(b == 0, 1, np.where(a == 0, 2, 3))
        errors = np.where(a == b, 0, kinds).astype(np.uint8)
    else:
        errors = slab.pred.astype(np.float32) - slab.ref.astype(np.float32)
    if slab.mask is not None:
        errors = np.where(slab.mask, errors, np.zeros_like(errors))
    return Image(errors, slab.geometry)
