"""Volumes behind the first transforms of a chain, kept in files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.geometry.base import Geometry, Image, Shape
from kauldron.volumes.transforms.base import Same, Undo, VolumeTransform


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheToDisk(Same):
    """Keeps the volume at this place of a chain in a file, which is read from then on.

    What comes before it is computed once for each case, and regions behind it are read
    from a memory-mapped file. It works where the case has a name: in `VolumeCases`, and
    with `opened(…, key=…)`; elsewhere it changes nothing.

    Attributes:
      directory: Where files are kept. A chain that differs before this place, or another
        key, has other files; old ones may be deleted at any time.
    """

    directory: str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What a cache has of a case.

    Attributes:
      image: The volume; its array is mapped, not read.
      undo: Of the transforms before the cache.
    """

    image: Image
    undo: Undo


def stored(
    cache: CacheToDisk,
    compute: Callable[[], Stored],
    *,
    key: str,
    transform: VolumeTransform,
    shape: Shape,
    geometry: Geometry,
) -> Stored:
    """Returns what the cache has, after computing it if it has nothing yet.

    Args:
      cache: Says where.
      compute: Returns the volume.
      key: Name of the case and group, and what else the volume hangs on, such as the
        time and size of its file.
      transform: What comes before the cache.
      shape: Of the source.
      geometry: Of the source.
    """
    told = _told([key, transform, shape, geometry.matrix, geometry.origin])
    name = hashlib.sha256(told.encode()).hexdigest()[:32]
    directory = epath.Path(cache.directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.npy"
    if (found := _load(path)) is not None:
        return found
    # Workers that want the same case wait for the first.
    with shared_files.exclusive(shared_files.lock_of(path)):
        found = _load(path)
        if found is None:
            _save(path, compute())
            found = _load(path)
    assert found is not None
    return found


def _save(path: epath.Path, volume: Stored) -> None:
    about = {
        "geometry": _plain(volume.image.geometry.to_dict()),
        "undo": _plain(volume.undo),
    }
    with shared_files.replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(volume.image.array))
    # Written last: a volume without it is not complete.
    shared_files.write_atomically(path.with_suffix(".json"), json.dumps(about))


def _load(path: epath.Path) -> Stored | None:
    """Returns what is there; nothing of a file that is missing or damaged."""
    with contextlib.suppress(FileNotFoundError, ValueError, EOFError):
        about = json.loads(path.with_suffix(".json").read_text())
        array = np.load(path, mmap_mode="r")
        geometry = Geometry.from_dict(about["geometry"])
        return Stored(image=Image(array, geometry), undo=about["undo"])
    return None


def _plain(value: Any) -> Any:
    """Returns data as JSON has it: arrays and tuples are lists."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _told(values: list) -> str:
    """Returns the representation of values in full."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(values)
