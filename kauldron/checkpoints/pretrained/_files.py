"""Files of a family: which of its layouts they have, and where our model is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import jax
import numpy as np
from etils import epath

from kauldron._base import errors
from kauldron.checkpoints import _errors, _safetensors
from kauldron.checkpoints.pretrained import (
    _language,
    _layout,
    _segmentation,
    _vision,
)

LAYOUTS: Mapping[str, _layout.Layout] = {
    **_language.LAYOUTS,
    **_vision.LAYOUTS,
    **_segmentation.LAYOUTS,
}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".tar")


def find_layout(layout: str | _layout.Layout) -> _layout.Layout:
    """Returns a layout by its name.

    Raises:
      CheckpointError: If there is none of that name.
    """
    if isinstance(layout, _layout.Layout):
        return layout
    if layout not in LAYOUTS:
        raise _errors.CheckpointError(
            f"There is no layout {layout!r}, but {', '.join(LAYOUTS)}."
            f"{errors.did_you_mean(layout, LAYOUTS)}"
        )
    return LAYOUTS[layout]


class TensorFiles(Protocol):
    """Files that hold tensors by name, of any format."""

    @property
    def name(self) -> str:
        """Where they are."""
        ...

    def specs(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Returns shape and dtype of each tensor; reads no tensor."""
        ...

    def views(self, names: Iterable[str]) -> Mapping[str, np.ndarray]:
        """Returns tensors that are read when they are used."""
        ...


@dataclasses.dataclass(frozen=True)
class File:
    """Tensors below a prefix, without it in their names.

    Attributes:
      files: Where they are.
      full_names: Name -> name in the file.
      specs: Name -> shape and dtype.
    """

    files: TensorFiles
    full_names: Mapping[str, str]
    specs: Mapping[str, jax.ShapeDtypeStruct]

    @classmethod
    def open(cls, path: epath.PathLike | TensorFiles, prefix: str) -> File:
        """Opens safetensors, or takes files that are open; only headers are read.

        Raises:
          NoCheckpointError: If there is no such file.
          CheckpointError: If it is a pickle, or damaged, or no name has the prefix.
        """
        is_path = isinstance(path, str | os.PathLike)
        files = _open_safetensors(path) if is_path else path
        specs = files.specs()
        names = {
            name.removeprefix(prefix): name for name in specs if name.startswith(prefix)
        }
        if not names:
            raise _errors.CheckpointError(
                f"No name in {files.name!r} begins with {prefix!r}: there are "
                f"{', '.join(map(repr, list(specs)[:3]))}."
            )
        return cls(files, names, {name: specs[full] for name, full in names.items()})

    @property
    def name(self) -> str:
        return self.files.name

    def views(self, names: Iterable[str]) -> Mapping[str, np.ndarray]:
        """Returns tensors that are read when they are used."""
        names = list(names)
        views = self.files.views([self.full_names[name] for name in names])
        return _Renamed(views, {name: self.full_names[name] for name in names})


class _Renamed(Mapping[str, np.ndarray]):
    """Tensors by other names; each is asked for when it is used."""

    def __init__(
        self, tensors: Mapping[str, np.ndarray], names: Mapping[str, str]
    ) -> None:
        self._tensors = tensors
        self._names = names

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _open_safetensors(path: epath.PathLike) -> _safetensors.SafetensorsFiles:
    if os.path.splitext(os.fspath(path))[1] in _PICKLES:
        raise _errors.CheckpointError(
            f"{os.fspath(path)!r} is a pickle of PyTorch, which runs code when it is "
            "read. Take the safetensors file of the model, or write one where "
            "PyTorch is: `safetensors.torch.save_file(model.state_dict(), "
            "'model.safetensors')`."
        )
    return _safetensors.SafetensorsFiles(path)


def check_file(layout: _layout.Layout, file: File) -> None:
    """Checks that a file has the names of a layout.

    Raises:
      CheckpointError: If the names are those of another layout, or of none.
    """
    names = list(file.specs)
    if _share(layout, names) >= 0.5:
        return
    near = max(LAYOUTS.values(), key=lambda x: _share(x, names))
    share = _share(near, names)
    some = f"such as {', '.join(map(repr, names[:3]))}"
    message = f"{file.name!r} does not have the names of {layout.name!r}: {some}."
    if share >= 0.5 and near.name != layout.name:
        raise _errors.CheckpointError(
            f"{message} These are the names of {near.name!r}, for `{near.model}`: say "
            f"`layout={near.name!r}` if that is your model."
        )
    if prefix := _common_prefix(layout, names):
        raise _errors.CheckpointError(
            f"{message} They are below {prefix!r}: say `prefix={prefix!r}`."
        )
    raise _errors.CheckpointError(f"{message} Known layouts: {', '.join(LAYOUTS)}.")


def check_model(
    layout: _layout.Layout, ours: Iterable[str], every: Sequence[str], into: str
) -> None:
    """Checks that a model is of the kind that a layout fills.

    Args:
      layout: The layout.
      ours: Names of the variables to fill.
      every: Names of all variables of the model.
      into: Path of the sub-model that is filled.

    Raises:
      CheckpointError: If none of its variables is known to the layout.
    """
    ours = list(ours)
    if any(layout.with_bases_of((), ours).knows_ours(name) for name in ours):
        return
    parts = dict.fromkeys(_part_with(name, layout) for name in every)
    parts.pop(None, None)
    near = [x for x in LAYOUTS.values() if any(x.knows_ours(name) for name in ours)]
    if parts:
        hint = (
            f" Those below {next(iter(parts))!r} are: say `into={next(iter(parts))!r}`."
        )
    elif near:
        hint = f" They are of `{near[0].model}`: {', '.join(x.name for x in near)}."
    else:
        hint = ""
    where = f" below {into!r}" if into else ""
    some = ", ".join(map(repr, list(every)[:3])) or "none"
    raise _errors.CheckpointError(
        f"The layout {layout.name!r} fills `{layout.model}`, and no variable of the "
        f"model{where} is one of it: {some}.{hint}"
    )


def _share(layout: _layout.Layout, names: Sequence[str]) -> float:
    """Returns the share of names that a layout knows, without those it never uses."""
    layout = layout.with_bases_of(names, [f"params.{layout.our_base}"])
    used = [name for name in names if not layout.is_unused(name)]
    return sum(map(layout.knows_theirs, used)) / max(len(used), 1)


def _common_prefix(layout: _layout.Layout, names: Sequence[str]) -> str:
    """Returns the prefix below which the names are those of the layout, or `""`."""
    candidates: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        candidates |= dict.fromkeys(
            ".".join(parts[:i]) + "." for i in range(1, min(len(parts), 4))
        )
    for prefix in candidates:
        inside = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
        if 2 * len(inside) >= len(names) and _share(layout, inside) >= 0.5:
            return prefix
    return ""


def _part_with(name: str, layout: _layout.Layout) -> str | None:
    """Returns the path of the sub-model whose variable this is, if the layout says so."""
    collection, *parts = name.split(".")
    return next(
        (
            ".".join(parts[:i])
            for i in range(len(parts))
            if layout.knows_ours(".".join([collection, *parts[i:]]))
        ),
        None,
    )
