"""`read_outputs`: outputs of evaluators and predictors, as arrays."""

from __future__ import annotations

import os
import re

import numpy as np
from etils import epath

from kauldron._base import errors
from kauldron.evals import output_pieces


def read_outputs(path: epath.PathLike) -> dict[str, np.ndarray]:
    """Returns written outputs: column -> values, `[n ...]`, in the order of the dataset.

    Args:
      path: The file that was asked for, with or without its suffix, also if it was
        written in pieces; or the folder of an evaluator, `workdir/outputs/<name>`, for
        its newest step.

    Raises:
      OutputsError: If there is nothing, or a piece is missing.
    """
    pieces = _find_set(epath.Path(path))
    tables = [_read(piece) for piece in pieces]
    columns = {
        name: np.concatenate([table[name] for table in tables]) for name in tables[0]
    }
    places = columns.pop(output_pieces.PLACE, None)
    if places is None:
        return columns
    order = np.argsort(places)
    return {name: values[order] for name, values in columns.items()}


def _find_set(path: epath.Path) -> list[output_pieces.Piece]:
    name, format = path.name, None
    if path.is_dir():
        found = output_pieces.pieces_in(path)
        steps = [s for p in found if (s := _step_of(p.name)) is not None]
        folder, name = path, f"step_{max(steps, default=0)}"
    else:
        folder = path.parent
        found = output_pieces.pieces_in(folder) if folder.exists() else []
        if (asked := output_pieces.Piece.parse(path)) is not None:
            name, format = asked.name, asked.format
    pieces = [p for p in found if p.name == name and p.format == (format or p.format)]
    if not pieces:
        names = {p.name if format is None else f"{p.name}.{p.format}" for p in found}
        wanted = os.fspath(path)
        raise output_pieces.OutputsError(
            f"There are no outputs {wanted!r}."
            + (f" There are {sorted(names)}." if names else "")
            + errors.did_you_mean(path.name, names)
        )
    _check_complete(pieces, path)
    return sorted(pieces, key=lambda p: (p.process, p.part))


def _check_complete(pieces: list[output_pieces.Piece], path: epath.Path) -> None:
    if len({piece.format for piece in pieces}) > 1:
        raise output_pieces.OutputsError(
            f"There is more than one {os.fspath(path)!r}: "
            f"{sorted(p.path.name for p in pieces)}. Say which, with its suffix."
        )
    there = {(p.process, p.num_processes, p.part, p.num_parts) for p in pieces}
    num_processes = pieces[0].num_processes
    num_parts = {p.process: p.num_parts for p in pieces}
    wanted = {
        (process, num_processes, part, num_parts.get(process, 1))
        for process in range(num_processes)
        for part in range(num_parts.get(process, 1))
    }
    if there != wanted:
        raise output_pieces.OutputsError(
            f"The outputs {os.fspath(path)!r} are not complete: found "
            f"{sorted(p.path.name for p in pieces)}. Write them again."
        )


def _step_of(name: str) -> int | None:
    match = re.fullmatch(r"step_(\d+)", name)
    return int(match[1]) if match else None


def _read(piece: output_pieces.Piece) -> dict[str, np.ndarray]:
    if piece.format == "npz":
        with piece.path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    from kauldron import data

    columns = data.py.Parquet(os.fspath(piece.path), shuffle=False).data_source
    # Parquet's texts have no fixed width.
    return {k: _as_fixed_width(v) for k, v in columns.items()}


def _as_fixed_width(values: np.ndarray) -> np.ndarray:
    if values.dtype != object:
        return values
    is_bytes = any(isinstance(value, bytes) for value in values.ravel()[:1])
    return values.astype(bytes if is_bytes else str)
