"""Input files for a trained model: a pipeline with another pipeline's transforms."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import data
from kauldron._base import console

_OTHER_SUFFIXES = (".npz", ".npy", ".parquet", ".json", ".jsonl", ".csv")

# The name of the file of an image, as a key of its element.
FILE_KEY = "file"


def are_images(paths: Any) -> bool:
    """Whether files are images, by their suffix."""
    return all(
        epath.Path(path).suffix.lower() in data.IMAGE_SUFFIXES
        for path in _listed(paths)
    )


def open_inputs(paths: Any, *, like: Any, element_spec: Any) -> Any:
    """Returns a pipeline over files, see `Predictor.open`."""
    if not hasattr(like, "transforms") or not hasattr(like, "batch_size"):
        raise data.DataError(
            "Files go through the transforms of a pipeline such as `kd.data.py.Tfds`: "
            f"got a {type(like).__name__}."
        )
    source = _source(_listed(paths), element_spec)
    options = {"shuffle": False, "num_epochs": 1, "seed": like.seed}
    bare = dataclasses.replace(source, **options, batch_size=None)
    spec = bare.element_spec
    names = set(spec) if isinstance(spec, Mapping) else None
    fitting = fitting_transforms(like.transforms, names)
    return dataclasses.replace(bare, batch_size=like.batch_size, transforms=fitting)


def _source(paths: list[str], element_spec: Any) -> Any:
    suffixes = {epath.Path(path).suffix.lower() for path in paths}
    known = (*_OTHER_SUFFIXES, *data.IMAGE_SUFFIXES)
    unknown = suffixes - set(known)
    if unknown or not paths:
        raise data.DataError(
            f"Inputs are files with one of the suffixes {', '.join(known)}: got "
            f"{paths}."
        )
    if suffixes <= set(data.IMAGE_SUFFIXES):
        num_channels = _num_channels(element_spec)
        return data.py.DataSource(_ImageFiles(paths, num_channels), shuffle=False)
    if suffixes == {".parquet"}:
        return data.py.Parquet(paths, shuffle=False)
    if len(paths) > 1:
        raise data.DataError(
            f"Several files must be images, or Parquet: got {paths}. Give one of them."
        )
    kinds = {".json": data.py.Json, ".jsonl": data.py.Json, ".csv": data.py.Csv}
    kind = kinds.get(suffixes.pop(), data.py.NumpyArrays)
    return kind(paths[0], shuffle=False)


def _num_channels(element_spec: Any) -> int | None:
    """Returns how many channels the images of the training have, if that is known."""
    image = element_spec.get("image") if isinstance(element_spec, Mapping) else None
    return image.shape[-1] if image is not None and image.shape else None


class _ImageFiles:
    """Elements `{"image": u8[h w c], "file": str}` of image files.

    Without `num_channels`, all have as many as the first file.
    """

    def __init__(self, paths: Sequence[str], num_channels: int | None) -> None:
        self._files: list[str] = []
        for path in map(epath.Path, paths):
            found = sorted(path.parent.glob(path.name)) if path.parent.exists() else []
            if not found:
                raise data.DataError(f"No image matches {os.fspath(path)!r}.")
            self._files += map(os.fspath, found)
        self._num_channels = num_channels

    @functools.cached_property
    def _num_channels_of_all(self) -> int:
        if self._num_channels in (1, 3, 4):
            return self._num_channels
        return data.read_image(self._files[0]).shape[-1]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        file = self._files[index]
        num_channels = self._num_channels_of_all
        return {
            "image": data.read_image(file, num_channels=num_channels),
            FILE_KEY: file,
        }


def fitting_transforms(
    transforms: Any,
    names: set[str] | None,
    tell: Callable[[str], None] = console.log,
) -> list[Any]:
    """Returns the transforms that elements with some keys can go through.

    Args:
      transforms: Those of another pipeline.
      names: The keys; `None` if elements have none.
      tell: Is told which transforms are left out.
    """
    listed = transforms.values() if isinstance(transforms, Mapping) else transforms
    fitting = []
    left_out = []
    for transform in listed:
        if isinstance(transform, data.py.SliceDataset):
            continue  # it chooses among the examples of the other dataset
        if names is not None:
            if isinstance(transform, data.Elements):
                transform = _restrict(transform, names)
            elif not _keys_of(transform) & names and _keys_of(transform):
                left_out.append(repr(transform))
                continue
            names = _names_after(transform, names)
        fitting.append(transform)
    if left_out:
        tell(f"Left out, as the inputs lack their keys: {', '.join(left_out)}.")
    return fitting


def _restrict(transform: Any, names: set[str]) -> Any:
    """Returns an `Elements` without the keys that there are not."""
    keep = [key for key in transform.keep if key in names]
    if keep and FILE_KEY in names:
        keep.append(FILE_KEY)
    return dataclasses.replace(
        transform,
        keep=keep,
        drop=[key for key in transform.drop if key in names],
        rename={k: v for k, v in transform.rename.items() if k in names},
        copy={k: v for k, v in transform.copy.items() if k in names},
    )


def _keys_of(transform: Any) -> set[str]:
    """Returns the keys that an element-wise transform reads; empty if unknown."""
    if isinstance(transform, data.Stack):
        return set(transform.keys)
    key = getattr(transform, "key", None)
    if key is None:
        return set()
    return {key} if isinstance(key, str) else set(key)


def _names_after(transform: Any, names: set[str]) -> set[str]:
    if isinstance(transform, data.Elements):
        return set(transform.map(dict.fromkeys(names)))
    key = getattr(transform, "key", None)
    added = set(key.values()) if isinstance(key, Mapping) else set()
    added |= set(getattr(transform, "values", None) or ())
    if isinstance(transform, data.Stack):
        added.add(transform.to)
    return names | added


def _listed(paths: Any) -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in several]
