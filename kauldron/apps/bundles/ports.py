"""`Port`: an input or an output of an app, and what kind of files go through it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from kauldron._base import errors
from kauldron.apps.bundles._json_fields import Fields
from kauldron.apps.bundles.errors import AppError

_VOLUMES = (
    *(".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".dcm", ".ima", ".raw"),
    *(".npy", ".npz", ".h5", ".hdf5", ".zarr", ".ome.zarr", ".tif", ".tiff"),
)

# Kind -> suffixes of its files, the usual one first.
KINDS: Mapping[str, tuple[str, ...]] = {
    "image": (
        *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
        *(".npy", ".npz"),
    ),
    "array": (".npy", ".npz"),
    "volume": _VOLUMES,
    "segmentation": _VOLUMES,
    "text": (".txt", ".md", ".jsonl", ".json"),
    "table": (".csv", ".json", ".jsonl", ".parquet"),
}
# Kinds of which a file can be a folder: slices of a series, chunks of an array.
OF_FOLDERS = ("volume", "segmentation")
_MAX_SHOWN = 12
FILLS = ("zeros", "ones")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What a number in a segmentation, or a class, stands for.

    Attributes:
      name: In words.
      colour: `#rrggbb`, or empty.
    """

    name: str
    colour: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Port:
    """An input or an output.

    Attributes:
      name: As users give it, `--input=ct=scan.nii.gz`.
      kind: One of `KINDS`.
      description: One line.
      required: Whether an input has to be given.
      default: What takes the place of an input that is not: `'zeros'` or `'ones'`.
      labels: Number -> what it stands for, of segmentations and classes.

    Raises:
      AppError: If there is no such kind, or a required input has a default.
    """

    name: str
    kind: str
    description: str = ""
    required: bool = True
    default: str | None = None
    labels: Mapping[int, Label] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not set(self.name) <= _NAME_LETTERS:
            raise AppError(
                f"Names of inputs and outputs have letters, digits, '_', '-' and '.': "
                f"got {self.name!r}."
            )
        if self.kind not in KINDS:
            raise AppError(
                f"{self.name!r} is of the kind {self.kind!r}; there are {list(KINDS)}."
                f"{errors.did_you_mean(self.kind, KINDS)}"
            )
        if self.default is not None and (self.required or self.default not in FILLS):
            raise AppError(
                f"The default of the optional input {self.name!r} is one of "
                f"{list(FILLS)}: got {self.default!r}, required={self.required}."
            )

    def accepts(self, path: str) -> bool:
        """Whether a file or a folder can be of this kind, by its name."""
        lowered = os.path.basename(path.rstrip("/")).lower()
        if self.kind in OF_FOLDERS and "." not in lowered:
            return True  # files of DICOM often have no suffix
        return lowered.endswith(KINDS[self.kind])

    def describe(self) -> str:
        """Returns what it is, in a line."""
        optional = "" if self.required else " (optional)"
        names = [label.name for label in self.labels.values()]
        more = f", ... ({len(names)})" if len(names) > _MAX_SHOWN else ""
        labels = f": {', '.join(names[:_MAX_SHOWN])}{more}" if names else ""
        about = f", {self.description}" if self.description else ""
        return f"{self.name}: {self.kind}{about}{optional}{labels}"

    def to_json(self) -> dict[str, Any]:
        """Returns what JSON can hold."""
        labels = {str(k): dataclasses.asdict(x) for k, x in self.labels.items()}
        return {**dataclasses.asdict(self), "labels": labels}

    @classmethod
    def from_json(cls, entry: object, where: str) -> Port:
        """Returns what `to_json` was made of.

        Raises:
          AppError: If something in it is wrong.
        """
        fields = Fields(entry, where)
        labels = Fields(fields.take("labels", dict, {}), f"'labels' of {where}")
        return cls(
            name=fields.take("name", str),
            kind=fields.take("kind", str),
            description=fields.take("description", str, ""),
            required=fields.take("required", bool, True),
            default=fields.optional("default", str),
            labels={_number(key, where): _label(labels, key) for key in labels.names},
        )


_NAME_LETTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
)


def _number(key: str, where: str) -> int:
    try:
        return int(key)
    except ValueError:
        raise AppError(f"Labels of {where} are numbers: got {key!r}.") from None


def _label(labels: Fields, key: str) -> Label:
    fields = Fields(labels.take(key, dict), f"label {key}")
    return Label(name=fields.take("name", str), colour=fields.take("colour", str, ""))
