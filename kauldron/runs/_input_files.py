"""Input files for a trained model: a pipeline with another pipeline's transforms."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import data
from kauldron._base import console
from kauldron.runs._fitting_transforms import FILE_KEY, fitting_transforms

_OTHER_SUFFIXES = (".npz", ".npy", ".parquet", ".json", ".jsonl", ".csv")


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
    first = bare[0] if len(bare) else None
    fitting = fitting_transforms(like.transforms, first)
    if fitting.left_out:
        left_out = ", ".join(fitting.left_out)
        console.log(f"Left out, as the inputs lack their keys: {left_out}.")
    return dataclasses.replace(
        bare, batch_size=like.batch_size, transforms=fitting.transforms
    )


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


def _listed(paths: Any) -> list[str]:
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in several]
