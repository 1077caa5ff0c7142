"""From files, folders and patterns to cases: which files belong together, their name."""

from __future__ import annotations

import dataclasses
import glob
import os
import pathlib
from collections.abc import Container, Mapping, Sequence

from kauldron.apps.bundles.calls import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.bundles.manifest import Manifest
from kauldron.apps.bundles.ports import KINDS, OF_FOLDERS, Port
from kauldron.evals import file_prediction

_SERIES = (".dcm", ".ima")
_FOLDER_SUFFIXES = (".zarr",)
# Of files of all kinds, the longest first: `.nii.gz` before `.gz`.
_SUFFIXES = sorted({x for kind in KINDS.values() for x in kind}, key=len, reverse=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """Files that belong together.

    Attributes:
      name: Unique, made of the name of its first file.
      files: Name of an input, a reference, or `mask` -> file.
    """

    name: str
    files: Mapping[str, str]


def cases_of(
    call: Call, manifest: Manifest, in_memory: Container[str] = ()
) -> list[Case]:
    """Returns the cases of a checked call.

    Args:
      call: What is asked.
      manifest: Of the app.
      in_memory: Files that need not exist.

    Raises:
      AppError: If a file does not exist, or inputs have different numbers of files.
    """
    ports = {port.name: port for port in (*manifest.inputs, *manifest.references)}
    groups = {
        name: _expanded(paths, ports[name], in_memory)
        for name, paths in {**call.inputs, **call.references}.items()
    }
    tables = {k: groups.pop(k)[0] for k in list(groups) if ports[k].kind == "table"}
    if call.masks:
        mask = Port(name=file_prediction.MASK, kind="segmentation")
        groups[mask.name] = _expanded(call.masks, mask, in_memory)
    counts = {name: len(paths) for name, paths in groups.items()}
    if len(set(counts.values())) > 1:
        raise AppError(
            "The n-th files of all inputs are one case, so that there are equally many: "
            f"got {counts}."
        )
    if not groups:  # the rows of the table are cases, which nobody has looked at yet
        return [Case(name=_stem(path), files=tables) for path in [*tables.values()][:1]]
    names = _unique([_stem(path) for path in next(iter(groups.values()))])
    return [
        Case(
            name=name,
            files={group: paths[i] for group, paths in groups.items()} | tables,
        )
        for i, name in enumerate(names)
    ]


def is_one_volume(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is a single volume: a series of DICOM, or a Zarr array."""
    path = pathlib.Path(folder)
    if path.suffix.lower() in _FOLDER_SUFFIXES:
        return True
    files = [x for x in path.iterdir() if x.is_file() and not x.name.startswith(".")]
    return bool(files) and all(
        x.suffix.lower() in _SERIES or not x.suffix or x.suffix[1:].isdigit()
        for x in files
    )


def _expanded(paths: Sequence[str], port: Port, in_memory: Container[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        if path in in_memory:
            found.append(path)
        elif os.path.isdir(path):
            found += _in_folder(path, port)
        elif os.path.exists(path):
            found.append(path)
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path))
            if not matches:
                raise AppError(f"No file of {port.name!r} matches {path!r}.")
            found += [x for match in matches for x in _expanded([match], port, ())]
        else:
            raise AppError(f"The file {path!r} of {port.name!r} does not exist.")
    return found


def _in_folder(folder: str, port: Port) -> list[str]:
    if port.kind in OF_FOLDERS and is_one_volume(folder):
        return [folder]
    inside = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    found = [
        path
        for path in inside
        if not os.path.basename(path).startswith(".")
        and port.accepts(path)
        and (os.path.isfile(path) or (port.kind in OF_FOLDERS and is_one_volume(path)))
    ]
    if not found:
        raise AppError(
            f"The folder {folder!r} has no file of the kind {port.kind!r} for "
            f"{port.name!r}, such as 'x{KINDS[port.kind][0]}'."
        )
    return found


def _stem(path: str) -> str:
    name = os.path.basename(path.rstrip("/"))
    if name in ("", ".", ".."):
        name = os.path.basename(os.path.abspath(path))
    lowered = name.lower()
    for suffix in _SUFFIXES:
        if lowered.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def _unique(names: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        number, unique = 1, name
        while unique in found:
            number += 1
            unique = f"{name}_{number}"
        found[unique] = None
    return list(found)
