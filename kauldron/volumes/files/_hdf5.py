"""HDF5 files: a dataset, `[z y x]` or `[z y x c]`, with its geometry as attributes."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import errors, shared_files
from kauldron.volumes.files import _dtypes, _folders, _notes, _packages
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Geometry, Region
from kauldron.volumes.geometry.errors import VolumeError

_DATASET = "volume"
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Hdf5:
    """`.h5` and `.hdf5`; of several datasets, `all.h5/case_1/ct` is one."""

    name: str = "HDF5"
    suffixes: tuple[str, ...] = (".h5", ".hdf5")

    def open(self, path: pathlib.Path) -> Hdf5Source:
        return Hdf5Source(*_folders.split(path, self.suffixes))

    def refusal(self, info: Info) -> str | None:
        return None if info.dtype in _dtypes.ALL else f"HDF5 has no {info.dtype}."

    @contextlib.contextmanager
    def create(self, path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
        h5py = _packages.load("h5py", "HDF5")
        if _folders.split(path, self.suffixes)[1]:
            raise VolumeError(
                f"{path}: a dataset of an HDF5 file cannot be written, as the file would "
                "be changed in place. Write a file for each volume."
            )
        shape = info.array_shape if info.num_channels > 1 else info.shape
        chunks = (*(min(_CHUNK, size) for size in info.shape), *shape[3:])
        with (
            shared_files.replacing(epath.Path(path)) as temporary,
            h5py.File(temporary, "w") as file,
        ):
            dataset = file.create_dataset(
                _DATASET,
                shape,
                info.dtype,
                chunks=chunks,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            dataset.attrs["matrix"] = info.geometry.matrix
            dataset.attrs["origin"] = info.geometry.origin
            yield _Writer(dataset)


class _Writer:
    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def write(self, region: Region, array: np.ndarray) -> None:
        if self._dataset.ndim == 3:
            array = array[..., 0]
        self._dataset[region.slices] = array


class Hdf5Source:
    """A dataset of an HDF5 file."""

    def __init__(self, path: pathlib.Path, inner: str) -> None:
        self._path = path
        with self._opened() as file:
            dataset = _find(path, file, inner)
            self._name = dataset.name
            dtype = dataset.dtype.newbyteorder("=")
            if dtype not in _dtypes.ALL:
                raise VolumeError(
                    f"{path}{self._name} holds {dtype}, which no volume can be."
                )
            z, y, x, c = (*dataset.shape, 1)[:4]
            geometry, notes = _geometry(dataset)
        self.info = Info(
            shape=(z, y, x),
            num_channels=c,
            dtype=dtype,
            geometry=geometry,
            format="HDF5",
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        with self._opened() as file:
            try:
                array = file[self._name][region.slices]
            except OSError as e:
                raise self._damaged(e) from e
        return array.reshape(*region.shape, -1).astype(self.info.dtype, copy=False)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        h5py = _packages.load("h5py", "HDF5")
        self._path.stat()  # missing files are told as everywhere
        try:
            file = h5py.File(self._path, "r")
        except PermissionError:
            raise
        except OSError as e:
            raise self._damaged(e) from e
        with file:
            yield file

    def _damaged(self, cause: OSError) -> VolumeError:
        return VolumeError(
            f"{self._path} is cut off, damaged, or no HDF5 file: {cause}. Copy or "
            "download it again."
        )


def _find(path: pathlib.Path, file: Any, inner: str) -> Any:
    """Returns the dataset of a name, or the only one that can be a volume."""
    h5py = _packages.load("h5py", "HDF5")
    found: list[Any] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in (3, 4):
            found.append(item)

    place = file.get(inner or "/")
    if isinstance(place, h5py.Dataset):
        collect(inner, place)
    elif place is not None:
        place.visititems(collect)
    if len(found) == 1:
        return found[0]
    file.visititems(collect)
    names = list(dict.fromkeys(dataset.name.removeprefix("/") for dataset in found))
    if not names:
        raise VolumeError(f"{path} has no dataset [z y x] or [z y x c].")
    what = f"has no volume {inner!r}" if inner else "has several volumes"
    raise VolumeError(
        f"{path} {what}.{errors.did_you_mean(inner, names)} Say which one, as in "
        f"{str(path / names[0])!r}. There are {', '.join(names[:20])}."
    )


def _geometry(dataset: Any) -> tuple[Geometry, tuple[str, ...]]:
    if {"matrix", "origin"} <= set(dataset.attrs):
        matrix, origin = dataset.attrs["matrix"], dataset.attrs["origin"]
        return Geometry(matrix=matrix, origin=origin), ()
    return Geometry.make(), (
        f"{_notes.NO_PLACEMENT}: the dataset {dataset.name} has no attributes `matrix` "
        "and `origin`. A spacing of 1 mm is assumed.",
    )
