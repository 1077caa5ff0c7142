"""`kd.volumes.read`, `write`, `info`: volume files of all formats, whole or by region."""

from __future__ import annotations

import contextlib
import difflib
import gzip
import os
import pathlib
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kauldron._base import errors
from kauldron.volumes.files import _dtypes, _notes, formats
from kauldron.volumes.files.base import Info, RegionWriter, Source
from kauldron.volumes.geometry.base import Geometry, Image, Region
from kauldron.volumes.geometry.errors import VolumeError

Path = str | os.PathLike[str]


def read(path: Path, *, region: Region | None = None) -> Image:
    """Returns the volume of a file, or a part of it.

    A part costs the time and memory of the part where the format allows: not where the
    file is packed as a whole, such as `.nii.gz`, which still keeps the memory small.

    Args:
      path: The file, the folder of a DICOM series or of an OME-Zarr.
      region: Which voxels; all of them unless given.

    Raises:
      VolumeError: If the file cannot be read, or the region is not inside of it.

    Example:

    ```python
    image = kd.volumes.read("ct.nii.gz")
    image.array  # [z y x c]
    image.geometry.spacing_mm  # along (z, y, x)
    ```
    """
    path = pathlib.Path(path)
    if region is not None and not isinstance(region, Region):
        raise VolumeError(
            "`region` is a `kd.volumes.Region`, such as `kd.volumes.Region((0, 0, 0), "
            f"(2, 2, 2))`, its start and stop along (z, y, x): got {region!r}."
        )
    with _telling(path):
        source = _open(path)
        info = source.info
        _notes.tell(path, info.notes)
        region = Region.whole(info.shape) if region is None else region
        _check_region(path, region, info)
        return Image(source.read(region), info.geometry.moved(region.start))


def info(path: Path) -> Info:
    """Returns what is in a file, without reading its values.

    Raises:
      VolumeError: If the file cannot be read.
    """
    path = pathlib.Path(path)
    with _telling(path):
        return _open(path).info


def write(path: Path, image: Image) -> None:
    """Writes a volume; its format is that of the suffix.

    A reader sees the old or the new file, never a part. Values and dtype are written as
    they are: what a format cannot hold is refused.

    Raises:
      VolumeError: If the format cannot hold the volume; names the formats that can. If
        the file cannot be written.
    """
    if not isinstance(image, Image):
        raise VolumeError(
            "`write` takes a `kd.volumes.Image`, an array and where it lies: "
            "`kd.volumes.Image(array, geometry)`. Got an object of the type "
            f"{type(image).__name__}."
        )
    array = image.array
    with open_region_writer(
        path,
        shape=image.shape,
        num_channels=array.shape[3],
        dtype=array.dtype,
        geometry=image.geometry,
    ) as writer:
        writer.write(Region.whole(image.shape), array)


def convert(source: Path, target: Path, *, overwrite: bool = False) -> Info:
    """Writes a volume in another format; returns what is in the written file.

    Values, dtype and world positions stay: what the format cannot hold is refused.

    Args:
      source: What `read` reads.
      target: What `write` writes.
      overwrite: Whether an older file may be replaced.

    Raises:
      VolumeError: If there is a file already, or reading or writing fails.
    """
    if pathlib.Path(target).exists() and not overwrite:
        raise VolumeError(
            f"There is a file {os.fspath(target)!r} already: choose another name, or "
            "set `overwrite=True` or `--overwrite`."
        )
    write(target, read(source))
    return info(target)


@contextlib.contextmanager
def open_region_writer(
    path: Path,
    *,
    shape: Sequence[int],
    num_channels: int = 1,
    dtype: Any,
    geometry: Geometry,
) -> Iterator[RegionWriter]:
    """Yields a writer for a volume that is made part by part.

    The file appears when the block succeeds; voxels that were not written are 0.

    Args:
      path: The file; its suffix says the format.
      shape: Number of voxels along (z, y, x).
      num_channels: Times, components or colours.
      dtype: Of the parts.
      geometry: Where the voxels are.

    Raises:
      VolumeError: If the format cannot hold the volume, or the file cannot be written.

    Example:

    ```python
    with kd.volumes.open_region_writer(
        "preds.nii", shape=(8, 8, 8), dtype="uint8", geometry=kd.volumes.Geometry.make()
    ) as writer:
        region = kd.volumes.Region((0, 0, 0), (4, 8, 8))
        writer.write(region, np.ones((4, 8, 8, 1), np.uint8))
    ```
    """
    path = pathlib.Path(path)
    z, y, x = (int(size) for size in shape)
    found = Info(
        shape=(z, y, x),
        num_channels=num_channels,
        dtype=np.dtype(dtype).newbyteorder("="),
        geometry=geometry,
    )
    if min(found.array_shape) < 1:
        raise VolumeError(f"{path}: a volume of shape {found.array_shape} is empty.")
    format_ = formats.format_of(path)
    if why := _refusal_of_all(found) or format_.refusal(found):
        others = formats.that_hold(found)
        hint = f" These can hold it: {', '.join(others)}." if others else ""
        raise VolumeError(f"{path} cannot be written: {why}{hint}")
    with contextlib.ExitStack() as stack:
        with _telling(path, "written"):
            if not path.parent.exists():
                raise VolumeError(
                    f"There is no folder {path.parent}: make it, or write elsewhere."
                )
            writer = stack.enter_context(format_.create(path, found))
        yield _CheckedWriter(path, found, writer)
        with _telling(path, "written"):
            stack.close()


class _CheckedWriter:
    """Passes on what fits; tells what does not."""

    def __init__(self, path: pathlib.Path, info: Info, writer: RegionWriter) -> None:
        self._path = path
        self._info = info
        self._writer = writer

    def write(self, region: Region, array: np.ndarray) -> None:
        array = np.asanyarray(array)
        if array.ndim == 3:
            array = array[..., None]
        _check_region(self._path, region, self._info)
        expected = (*region.shape, self._info.num_channels)
        if array.shape != expected:
            raise VolumeError(
                f"{self._path}: the part {region.start} to {region.stop} has the shape "
                f"{expected}: got {array.shape}."
            )
        if array.dtype.newbyteorder("=") != self._info.dtype:
            raise VolumeError(
                f"{self._path} is a file of {self._info.dtype}: got {array.dtype}. Say "
                f"what is meant: `array.astype({self._info.dtype.name!r})`."
            )
        with _telling(self._path, "written"):
            self._writer.write(region, array)


def _open(path: pathlib.Path) -> Source:
    return formats.format_of(path).open(path)


def _refusal_of_all(info: Info) -> str | None:
    if info.dtype in _dtypes.ALL:
        return None
    return f"a volume holds integers, floats or bools, not {info.dtype}."


def _check_region(path: pathlib.Path, region: Region, info: Info) -> None:
    for start, stop, size in zip(region.start, region.stop, info.shape, strict=True):
        if not 0 <= start < stop <= size:
            raise VolumeError(
                f"{path}: the region {region.start} to {region.stop} is not inside of the "
                f"volume, which has the shape {info.shape} along (z, y, x)."
            )


@contextlib.contextmanager
def _telling(path: pathlib.Path, verb: str = "read") -> Iterator[None]:
    """Makes a `VolumeError` that names the file of what goes wrong with a file."""
    try:
        yield
    except VolumeError as e:
        if path.name in str(e):
            raise
        raise VolumeError(f"{path}: {e}") from e
    except PermissionError as e:
        raise VolumeError(
            f"{path} cannot be {verb}: permission denied. Change the rights (`chmod`), "
            "or ask its owner."
        ) from e
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise VolumeError(
            f"{path} is cut off or damaged: {e}. Copy or download it again."
        ) from e
    except OSError as e:
        if isinstance(e, FileNotFoundError) and verb == "read":
            raise VolumeError(f"There is no file {path}.{_near(path)}") from e
        raise VolumeError(f"{path} cannot be {verb}: {_why(e)}.") from e
    except (errors.UserError, MemoryError):
        raise
    except Exception as e:
        if verb != "read":
            raise
        # Libraries raise all kinds of errors for headers that nobody would write.
        raise VolumeError(
            f"{path} is damaged, or not what its name says: {type(e).__name__}: {e}. "
            "Copy or download it again."
        ) from e


def _why(error: OSError) -> str:
    """Returns the reason, without the temporary name of what is being written."""
    return re.sub(r"\.[0-9a-f]{8}\.tmp", "", error.strerror or str(error))


def _near(path: pathlib.Path) -> str:
    """Returns a hint: the nearest name in the folder, or that there is no folder."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent}, either."
    names = [other.name for other in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
