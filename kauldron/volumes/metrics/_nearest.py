"""Distances of voxels to the nearest of others: first their neighbours, then a tree.

Most voxels of a surface have the other surface close by, where looking at the neighbours
in order of distance finds it. The others are looked up in a tree of points.
"""

from __future__ import annotations

import itertools

import numpy as np
import scipy.spatial

# Neighbours that are looked at, in voxels along each axis. What is further away than the
# nearest voxel beyond is left to the tree.
_REACH = 2


def distances(
    a: np.ndarray, b: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distances of all voxels of `a` to the nearest of `b`, and back.

    Args:
      a: `bool[z y x]`, not empty.
      b: Of the same shape, not empty.
      steps: From voxel to voxel, `f64[3 3]` as columns, in mm.
    """
    # Neighbours of all voxels are inside of the array.
    a, b = (np.pad(x, _REACH) for x in (a, b))
    return _directed(a, b, steps), _directed(b, a, steps)


def _directed(a: np.ndarray, b: np.ndarray, steps: np.ndarray) -> np.ndarray:
    voxels = np.flatnonzero(a)
    is_target = b.ravel()
    found = np.zeros(len(voxels))
    missing = np.flatnonzero(~is_target[voxels])
    offsets, lengths = _neighbours(a.shape, steps)
    # All neighbours of one length are looked at before the next.
    starts = np.flatnonzero(np.diff(lengths, prepend=0) > 1e-9 * lengths.min())
    for start, stop in itertools.pairwise([*starts.tolist(), len(lengths)]):
        if not len(missing):
            return found
        around = voxels[missing]
        is_found = np.zeros(len(missing), bool)
        for offset in offsets[start:stop].tolist():
            is_found |= is_target[around + offset]
        found[missing[is_found]] = lengths[start]
        missing = missing[~is_found]
    if len(missing):
        found[missing] = _by_tree(voxels[missing], np.flatnonzero(b), a.shape, steps)
    return found


def _neighbours(
    shape: tuple[int, ...], steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets in the flat array and their lengths in mm, the shortest first.

    Only those that are shorter than everything beyond the reach.
    """
    reach = range(-_REACH, _REACH + 1)
    index = np.array(list(itertools.product(reach, repeat=len(shape))))
    lengths = np.linalg.norm(index @ steps.T, axis=1)
    # A plane of voxels beyond the reach is as far as its distance along its normal.
    planes = (_REACH + 1) / np.linalg.norm(np.linalg.inv(steps), axis=1)
    keep = (lengths > 0) & (lengths <= planes.min())
    order = np.argsort(lengths[keep], kind="stable")
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    return (index[keep] @ strides)[order], lengths[keep][order]


def _by_tree(
    voxels: np.ndarray, targets: np.ndarray, shape: tuple[int, ...], steps: np.ndarray
) -> np.ndarray:
    points, others = (
        np.stack(np.unravel_index(x, shape), axis=-1) @ steps.T
        for x in (voxels, targets)
    )
    tree = scipy.spatial.KDTree(others, compact_nodes=False, balanced_tree=False)
    return tree.query(points)[0]
