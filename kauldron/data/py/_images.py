"""Image folder datasets."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from kauldron.data import _errors, _image_files
from kauldron.data.py import _files, base


@dataclasses.dataclass(frozen=True)
class ImageFolder(base.DataSourceBase):
    """Images in folders named by class: `path/cat/1.png`, `path/dog/2.jpg`.

    An element is `{"image": u8[h w c], "label": int}`, labels counting the folders in
    sorted order (`class_names`). Images right in `path` give `{"image": u8[h w c]}`.

    Attributes:
      path: The folder.
      num_channels: 3 (RGB), 1 (grey) or 4 (RGBA); files are converted, see
        `kd.data.read_image`.
      exif_orientation: Whether photos are turned as the camera noted.
      as_stored: Whether more than 8 bits stay as they are, `u16`, `i32` or `f32`.

    Raises:
      BadRecordError: If a file does not decode; names it.
      DataError: If there are no images.
    """

    path: Any
    num_channels: int = dataclasses.field(default=3, kw_only=True)
    exif_orientation: bool = dataclasses.field(default=True, kw_only=True)
    as_stored: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _image_files.check_num_channels("ImageFolder", self.num_channels)

    @property
    def class_names(self) -> list[str]:
        """Names of the folders; the label is the index."""
        return self.data_source.class_names

    @functools.cached_property
    def data_source(self) -> Any:
        folder = _files.existing(self.path)
        names = sorted(p.name for p in folder.iterdir() if p.is_dir())
        files: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            of_class = _images_in(folder / name)
            files += of_class
            labels += [label] * len(of_class)
        if not files:
            files, labels, names = _images_in(folder), [], []
        if not files:
            raise _errors.DataError(
                f"There are no images in {folder} or its folders. Looked for "
                f"{sorted(_image_files.IMAGE_SUFFIXES)}."
            )
        options = {
            "num_channels": self.num_channels,
            "exif_orientation": self.exif_orientation,
            "as_stored": self.as_stored,
        }
        return _Images(files, labels, names, options)


@dataclasses.dataclass
class _Images:
    files: list[str]
    labels: list[int]
    class_names: list[str]
    options: dict[str, Any]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        file = self.files[index]
        element: dict[str, Any] = {
            "image": _image_files.read_image(file, **self.options)
        }
        if self.labels:
            element["label"] = self.labels[index]
        return element

    def __repr__(self) -> str:
        return f"{len(self.files)} images such as {self.files[0]}"


def _images_in(folder: Any) -> list[str]:
    suffixes = _image_files.IMAGE_SUFFIXES
    return sorted(str(p) for p in folder.iterdir() if p.suffix.lower() in suffixes)
