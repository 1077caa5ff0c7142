"""Pictures, PNG and TIFF: volumes of one slice, with the geometry in `x.png.json`."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np
from etils import epath

from kauldron import data
from kauldron._base import shared_files
from kauldron.volumes.files import _sidecars
from kauldron.volumes.files.base import Info, RegionWriter
from kauldron.volumes.geometry.base import Region
from kauldron.volumes.geometry.errors import VolumeError


@dataclasses.dataclass(frozen=True)
class Picture:
    """Pictures: `[1 y x c]`, grey, RGB or RGBA.

    Attributes:
      name: Of the format, as Pillow calls it.
      suffixes: Of its files.
      deep_dtypes: What one channel may be, besides uint8.
    """

    name: str
    suffixes: tuple[str, ...]
    deep_dtypes: tuple[str, ...]

    def open(self, path: pathlib.Path) -> PictureSource:
        return PictureSource(path, self.name)

    def refusal(self, info: Info) -> str | None:
        if info.shape[0] != 1:
            return f"{self.name} holds one slice, and these are {info.shape[0]}."
        if info.dtype == np.uint8 and info.num_channels in (1, 3, 4):
            return None
        if info.num_channels == 1 and info.dtype.name in self.deep_dtypes:
            return None
        return (
            f"{self.name} holds 1, 3 or 4 channels of uint8, or one of "
            f"{', '.join(self.deep_dtypes)}, and these are {info.num_channels} of "
            f"{info.dtype}."
        )

    @contextlib.contextmanager
    def create(self, path: pathlib.Path, info: Info) -> Iterator[RegionWriter]:
        from PIL import Image

        writer = _Writer(np.zeros(info.array_shape, info.dtype))
        with shared_files.replacing(epath.Path(path)) as temporary:
            yield writer
            pixels = writer.array[0]
            pixels = pixels[..., 0] if info.num_channels == 1 else pixels
            Image.fromarray(pixels).save(pathlib.Path(temporary), format=self.name)
            _sidecars.replace(path, info.geometry)


@dataclasses.dataclass(frozen=True)
class _Writer:
    array: np.ndarray

    def write(self, region: Region, array: np.ndarray) -> None:
        self.array[region.slices] = array


class PictureSource:
    """A picture; it is decoded as a whole."""

    def __init__(self, path: pathlib.Path, name: str) -> None:
        from PIL import Image

        path.stat()  # missing files are told as everywhere
        try:
            with Image.open(path) as image:
                num_pages = getattr(image, "n_frames", 1)
            pixels = data.read_image(path, exif_orientation=False, as_stored=True)
        except PermissionError:
            raise
        except (OSError, data.BadRecordError) as e:
            raise VolumeError(f"{path} is cut off, damaged, or no {name}: {e}") from e
        if num_pages > 1:
            raise VolumeError(
                f"{path} has {num_pages} pages, and a picture is one slice. Stack the "
                "pages, and write them as a volume: `kd.volumes.write('x.nii.gz', ...)`."
            )
        self._array = pixels[None]
        geometry, notes = _sidecars.read(path)
        self.info = Info(
            shape=(1, *pixels.shape[:2]),
            num_channels=pixels.shape[2],
            dtype=pixels.dtype,
            geometry=geometry,
            format=name,
            notes=notes,
        )

    def read(self, region: Region) -> np.ndarray:
        return self._array[region.slices].copy()
