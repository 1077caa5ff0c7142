"""Inspecting the checkpoints of a run: steps, arrays, differences, damage."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import text_tables
from kauldron.checkpoints import (
    _checksums,
    _dtype_changes,
    _errors,
    _layout,
    _load_arrays,
    _npz,
    _retention,
    _safetensors,
    _sources,
    _step_choice,
)
from kauldron.ktyping import PyTree


def describe_steps(workdir: epath.PathLike) -> str:
    """Returns a table of the steps of a run: when, how large, what was measured.

    Sizes of files are compared with those written; `find_damage` compares the contents.

    Raises:
      NoCheckpointError: If there is no checkpoint.
    """
    _layout.open_step(workdir)  # raises
    directory = _layout.checkpoints_dir(workdir)
    folders = _layout.step_dirs(directory)
    infos = _retention.step_infos(folders)
    best = _step_choice.best_by_config(workdir, infos)
    rows = [("step", "saved", "size", "state", "metrics")]
    for info in infos:
        folder = folders[info.step]
        damage = _checksums.find_damage(folder, sizes_only=True)
        state = "unverified" if damage is None else "DAMAGED" if damage else "ok"
        rows.append(
            (
                str(info.step),
                f"{info.time.astimezone():%Y-%m-%d %H:%M:%S}",
                text_tables.format_bytes(_num_bytes(folder)),
                f"{state}, best" if info.step == best else state,
                _format_metrics(info.metrics),
            )
        )
    aside = sorted(p.name for p in directory.glob("ckpt_*.damaged*"))
    lines = [
        text_tables.aligned(rows),
        *(f"{name}: damaged, moved aside" for name in aside),
    ]
    return "\n".join(lines)


def describe_arrays(
    workdir: epath.PathLike, step: int | str = -1, *, paths: Sequence[str] = ()
) -> str:
    """Returns a table of the arrays of a step: dtype, shape, size.

    Args:
      workdir: Directory of the run.
      step: Which step; -1 or 'latest' is the newest, or 'best'.
      paths: Globs of leaves or subtrees; everything unless given.
    """
    source = _sources.StepSource.open(workdir, step)
    specs = _load_arrays.select(source, paths)
    rows = [
        (
            name,
            _dtype_changes.describe(spec),
            text_tables.format_bytes(_spec_bytes(spec)),
        )
        for name, spec in specs.items()
    ]
    total = sum(_spec_bytes(spec) for spec in specs.values())
    count = sum(math.prod(spec.shape or ()) for spec in specs.values())
    end = f"{len(rows)} arrays, {count:,} numbers, {text_tables.format_bytes(total)}"
    return "\n".join([source.name, *([text_tables.aligned(rows)] if rows else []), end])


def diff_arrays(
    a: tuple[epath.PathLike, int],
    b: tuple[epath.PathLike, int],
    *,
    paths: Sequence[str] = (),
) -> list[str]:
    """Returns a line for each array that differs between two steps.

    Args:
      a: Workdir and step; -1 is the newest.
      b: The other one.
      paths: Globs of leaves or subtrees; everything unless given.
    """
    first, second = (_load_arrays.load_arrays(*x, paths=paths) for x in (a, b))
    lines = []
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            which = "first" if name in first else "second"
            spec = _dtype_changes.describe(first.get(name, second.get(name)))
            lines.append(f"{name}: {spec} in the {which} only")
            continue
        x, y = first[name], second[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            lines.append(
                f"{name}: {_dtype_changes.describe(x)} | {_dtype_changes.describe(y)}"
            )
        if x.shape == y.shape and not np.array_equal(x, y, equal_nan=_is_float(x, y)):
            x, y = x.astype(np.float64), y.astype(np.float64)
            norms = [np.linalg.norm(v.ravel()) for v in (x, y, x - y)]
            lines.append(
                f"{name}: norm {norms[0]:.6g} | {norms[1]:.6g}, of the difference "
                f"{norms[2]:.3g}"
            )
    return lines


def find_damage(workdir: epath.PathLike, step: int | str = -1) -> list[str] | None:
    """Compares the files of a step with their checksums.

    Returns:
      `"<file>: <what is wrong>"` for each bad file, `None` if there are no checksums.
    """
    _, folder = _layout.open_step(workdir, _step_choice.resolve_step(workdir, step))
    return _checksums.find_damage(folder)


def list_steps(workdir: epath.PathLike) -> list[int]:
    """Returns the complete steps of a run, ascending.

    Raises:
      NoCheckpointError: If there is none.
    """
    _layout.open_step(workdir)  # raises
    return list(_layout.step_dirs(_layout.checkpoints_dir(workdir)))


def export_arrays(
    workdir: epath.PathLike,
    path: epath.PathLike,
    step: int | str = -1,
    *,
    paths: Sequence[str] = (),
) -> list[epath.Path]:
    """Writes arrays of a run to `*.npz` or `*.safetensors`; returns the files.

    Dtypes that a format does not support are refused by name, or in a `.npz` written as
    a type that holds all their values: bfloat16 and float8 as float32, int4 as int8.

    Raises:
      CheckpointError: If an array or a name cannot be in such a file; nothing is
        written then.
    """
    path = epath.Path(path)
    if path.suffix not in (_npz.SUFFIX, _safetensors.SUFFIX):
        raise _errors.CheckpointError(
            f"Arrays are exported to *{_npz.SUFFIX} or *{_safetensors.SUFFIX}: got "
            f"{os.fspath(path)!r}."
        )
    if not path.parent.is_dir():
        raise _errors.CheckpointError(f"There is no folder {os.fspath(path.parent)!r}.")
    arrays = _load_arrays.load_arrays(workdir, step, paths=paths)
    if path.suffix == _safetensors.SUFFIX:
        return _safetensors.save_safetensors(arrays, path)
    return [_npz.save(arrays, path)]


def split_step(path: epath.PathLike) -> tuple[epath.Path, int]:
    """Returns workdir and step of `runs/a` or of `runs/a/checkpoints/ckpt_10`."""
    path = epath.Path(path)
    step = _layout.step_of(path)
    if step is not None and path.parent.name == _layout.FOLDER:
        return path.parent.parent, step
    return path, -1


def _format_metrics(metrics: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{k}={v:.5g}" for k, v in _leaves(metrics or {}, ""))


def _leaves(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        # As a key into them is written, so that no two metrics look the same.
        part = f"[{name!r}]" if "." in name else f".{name}" if prefix else name
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{part}")
        else:
            yield f"{prefix}{part}", value


def _num_bytes(folder: epath.Path) -> int:
    return sum(path.stat().length for path in _layout.all_files(folder).values())


def _spec_bytes(spec: PyTree) -> int:
    return math.prod(spec.shape or ()) * np.dtype(spec.dtype).itemsize


def _is_float(*arrays: np.ndarray) -> bool:
    return all(np.issubdtype(a.dtype, np.floating) for a in arrays)
