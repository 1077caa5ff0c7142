"""Loading a run's arrays without its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from kauldron._base import errors
from kauldron.checkpoints import _arrays, _errors, _source_paths, _sources


def load_arrays(
    workdir: epath.PathLike,
    step: int | str = -1,
    *,
    paths: Sequence[str] = (),
    nested: bool = False,
    verify: bool = True,
) -> dict[str, Any]:
    """Returns arrays of a run, without its model or config.

    Args:
      workdir: Directory of the run.
      step: Which step; -1 or 'latest' is the newest, or 'best'.
      paths: Globs of leaves or subtrees, such as `["params"]`; everything unless given.
      nested: Whether the result is nested as it was saved, without what `paths` leaves
        out; by default the keys are whole paths.
      verify: Whether the files are compared with their checksums first.

    Returns:
      `{"params.dense.kernel": array}`, or nested dicts. Lists and tuples become dicts
      with the keys "0", "1", ...

    Raises:
      NoCheckpointError: If there is no such run or step.
      DamagedCheckpointError: If files have changed since they were written.
      CheckpointError: If a path matches nothing.
    """
    source = _sources.StepSource.open(workdir, step, verify=verify)
    wanted = list(select(source, paths))
    values = source.read(dict.fromkeys(wanted)) if wanted else {}
    arrays = {name: np.asarray(values[name]) for name in wanted}
    return _nest(arrays, source.specs()) if nested else arrays


def select(source: _sources.Source, paths: Sequence[str]) -> dict[str, Any]:
    """Returns name and spec of the arrays that globs match; of all without globs.

    Raises:
      CheckpointError: If a glob matches nothing.
    """
    if isinstance(paths, str):
        raise _errors.CheckpointError(f"`paths` is a list of globs: got {paths!r}.")
    specs = source.specs()
    for glob in paths:
        if not any(_source_paths.matches([glob], name) for name in specs):
            parts = [part for name in specs for part in name.split(".")]
            hint = errors.did_you_mean(glob, [*_arrays.prefixes(specs), *parts])
            raise _errors.CheckpointError(
                f"Nothing in {source.name!r} is called {glob!r}.{hint}"
            )
    return {
        name: spec
        for name, spec in specs.items()
        if not paths or _source_paths.matches(paths, name)
    }


def _nest(
    arrays: Mapping[str, np.ndarray], saved: Mapping[str, _arrays.SavedArray]
) -> dict[str, Any]:
    """Returns arrays nested as they were saved; a key may have dots in it."""
    nested: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = saved[name].parts
        node = nested
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = array
    return nested
