"""Geometry in a JSON file beside a volume, for formats that know of none: `x.npy.json`."""

from __future__ import annotations

import json
import pathlib

from etils import epath

from kauldron._base import shared_files
from kauldron.volumes.files import _notes
from kauldron.volumes.geometry.base import Geometry
from kauldron.volumes.geometry.errors import VolumeError


def beside(path: pathlib.Path) -> pathlib.Path:
    """Returns the path of the JSON file of a volume."""
    return path.with_name(f"{path.name}.json")


def read(path: pathlib.Path) -> tuple[Geometry, tuple[str, ...]]:
    """Returns the geometry of a volume, and a note if there is none."""
    sidecar = beside(path)
    try:
        content = json.loads(sidecar.read_text("utf-8"))
    except FileNotFoundError:
        note = f"there is no {sidecar.name}. A spacing of 1 mm is assumed."
        return Geometry.make(), (f"{_notes.NO_PLACEMENT}: {note}",)
    except ValueError as e:
        raise VolumeError(f"{sidecar} is no JSON: {e}") from e
    try:
        return Geometry(matrix=content["matrix"], origin=content["origin"]), ()
    except (KeyError, TypeError) as e:
        raise VolumeError(
            f"{sidecar} must hold `matrix` (3 rows of 3 numbers) and `origin` (3 "
            f"numbers): got {content!r}."
        ) from e


def replace(path: pathlib.Path, geometry: Geometry) -> None:
    """Writes the geometry of a volume that is about to be renamed to `path`.

    The old volume goes first: whoever reads in between gets an error, and no mixture.
    """
    content = {"matrix": geometry.matrix.tolist(), "origin": geometry.origin.tolist()}
    with shared_files.replacing(epath.Path(beside(path))) as temporary:
        temporary.write_text(f"{json.dumps(content)}\n")
        path.unlink(missing_ok=True)
