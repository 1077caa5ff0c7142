"""Groups: what is read of each case, and what becomes of it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kauldron._base import arguments
from kauldron.volumes.geometry.errors import VolumeError

CASE = "{case}"
_KINDS = ("image", "map", "vector", "vector_mm")


@dataclasses.dataclass(frozen=True)
class Group(arguments.NamesArguments):
    """One volume of each case: its file, and how it is exposed.

    A file can be exposed several times, by groups with other transforms.

    Attributes:
      file: Where it is below the root: `'ct.nii.gz'` is that file in the folder of the
        case, `'images/{case}_0000.nii.gz'` a file that has the name of the case. A folder
        works as well, if a format reads it.
      transforms: Of `kd.volumes.transforms`, applied in this order; a dict gives them
        names for the command line.
      is_label: Whether the values are labels: integers, resampled to the nearest.
      kind: What other values are: `'image'`, an input; `'map'`, such as a dose, or an image
        that is a target: augmentation changes places but no values, and patches have no
        context slices; `'vector'`, along (z, y, x) in voxels, or `'vector_mm'`, along
        (x, y, z), which turn with the volume.
      num_labels: Labels are in `[0, num_labels)`; another one is told with its case and
        file.
      optional: Whether cases may lack it. They get `default` on the grid of the other
        groups. `batch.<group>_is_present` says which.
      default: The value of what is absent.
      dtype: NumPy dtype of the batch: float32, of labels int32, unless given. A value that
        it cannot hold is told with its case and file.

    Raises:
      VolumeError: If they don't fit together.
    """

    file: str
    transforms: Sequence[Any] | Mapping[str, Any] = dataclasses.field(
        default=(), kw_only=True
    )
    is_label: bool = dataclasses.field(default=False, kw_only=True)
    kind: str = dataclasses.field(default="image", kw_only=True)
    num_labels: int | None = dataclasses.field(default=None, kw_only=True)
    optional: bool = dataclasses.field(default=False, kw_only=True)
    default: float = dataclasses.field(default=0.0, kw_only=True)
    dtype: str | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not self.file:
            raise VolumeError(
                "The `file` of a group is a path below the root, such as 'ct.nii.gz': "
                f"got {self.file!r}."
            )
        path = pathlib.PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts:
            raise VolumeError(
                f"The `file` of a group is below the root, which `path` names: got "
                f"{self.file!r}."
            )
        if self.kind not in _KINDS:
            raise VolumeError(
                f"`kind` is one of {list(_KINDS)}: got {self.kind!r}. Labels have "
                "`is_label=True`."
            )
        if self.num_labels is not None and not self.is_label:
            raise VolumeError(
                f"The group of {self.file!r} has `num_labels={self.num_labels}`: set "
                "`is_label=True`."
            )
        if self.is_label and np.dtype(self.batch_dtype).kind not in "iu":
            raise VolumeError(
                f"The labels of {self.file!r} are integers: got dtype={self.dtype!r}."
            )

    @property
    def batch_dtype(self) -> np.dtype:
        """The dtype that batches have."""
        usual = np.int32 if self.is_label else np.float32
        return np.dtype(usual if self.dtype is None else self.dtype)

    @property
    def augmented_as(self) -> Any:
        """What an augmentation takes the values for."""
        return "label" if self.is_label else self.kind

    @property
    def pattern(self) -> str:
        """Where the file of a case is below the root; has `{case}`."""
        return self.file if CASE in self.file else f"{CASE}/{self.file}"

    @property
    def transform_list(self) -> list[Any]:
        """The transforms in order."""
        if isinstance(self.transforms, Mapping):
            return list(self.transforms.values())
        return list(self.transforms)


def as_groups(groups: Any) -> dict[str, Group]:
    """Returns groups by name; a text is the file of a group.

    Raises:
      VolumeError: If they are no groups, or a name is taken by another key of the batch.
    """
    if not isinstance(groups, Mapping) or not groups:
        raise VolumeError(
            "`groups` names what is read of each case: "
            "`groups={'ct': kd.volumes.Group('ct.nii.gz')}`. Got "
            f"{groups!r}."
        )
    found = {}
    for name, group in groups.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise VolumeError(f"The group {name!r} needs a name that is a key: `ct`.")
        taken = name in ("case", "start") or (
            name.endswith(("_geometry", "_is_present"))
        )
        if taken:
            raise VolumeError(
                f"The group {name!r} has the name of another key of the batch: 'case', "
                "'start', '<group>_geometry' and '<group>_is_present' are taken."
            )
        if isinstance(group, str):
            group = Group(group)
        if not isinstance(group, Group):
            raise VolumeError(
                f"`groups[{name!r}]` must be a `kd.volumes.Group`, or its file: got "
                f"{group!r}."
            )
        found[name] = group
    if all(group.optional for group in found.values()):
        raise VolumeError(
            f"All groups, {sorted(found)}, are optional: at least one says which cases "
            "there are, and what their grids are."
        )
    return found
