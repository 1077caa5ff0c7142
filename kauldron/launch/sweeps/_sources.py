"""Where the trials of a sweep come from: flags, functions of the config, a file."""

from __future__ import annotations

import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.launch._backend import LaunchError

Overrides = Mapping[str, Any]


def combine(
    *sources: Sequence[Overrides], given: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Returns the product of sources; of equal paths, the later source wins.

    Args:
      *sources: Lists of `{path: value}`.
      given: Paths that the command line sets for all trials: that wins.
    """
    given = set(given)
    combined = []
    for items in itertools.product(*sources):
        merged = {path: value for item in items for path, value in item.items()}
        combined.append({k: v for k, v in merged.items() if k not in given})
    return combined


def read_functions(cfg_file: str, names: str | None) -> list[dict[str, Any]]:
    """Returns what the `sweep()` functions of a config file yield.

    Args:
      cfg_file: The config file.
      names: See `konfig.expand_sweeps`; `None` for no function.

    Raises:
      LaunchError: If a function yields nothing.
      ConfigError: If there is no such function, or it raises.
    """
    if names is None:
        return [{}]
    items = konfig.expand_sweeps(cfg_file, names)
    if not items:
        raise LaunchError(
            f"The sweep {names!r} of {cfg_file} yields nothing, so there is nothing to "
            "run."
        )
    return items


def read_file(path: str | None) -> list[dict[str, Any]]:
    """Returns the trials of a JSON file: a list of `{path: value}`, or one a line.

    Raises:
      LaunchError: If it is something else, or there are none.
    """
    if path is None:
        return [{}]
    file = pathlib.Path(path)
    try:
        text = file.read_text()
    except OSError as e:
        raise LaunchError(_cannot_read(file, e)) from e
    trials = _parse(text, path)
    if not trials:
        raise LaunchError(f"{path!r} holds no trial, so there is nothing to run.")
    return trials


def _cannot_read(file: pathlib.Path, error: OSError) -> str:
    message = f"The trials cannot be read from {os.fspath(file)!r}: {error.strerror}."
    if not file.parent.is_dir():
        return message
    names = [p.name for p in file.parent.iterdir() if p.suffix in (".json", ".jsonl")]
    return message + errors.did_you_mean(file.name, names)


def _parse(text: str, path: str) -> list[dict[str, Any]]:
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as e:
            raise LaunchError(f"{path!r} is not JSON: {e}.") from e
        numbered = [(f"{path!r}, trial {i}", row) for i, row in enumerate(rows, 1)]
    else:
        numbered = []
        for i, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                numbered.append((f"{path!r}, line {i}", json.loads(line)))
            except ValueError as e:
                raise LaunchError(f"{path!r}, line {i}, is not JSON: {e}.") from e
    for where, row in numbered:
        if not isinstance(row, dict):
            raise LaunchError(
                f"{where}: a trial is a dict of paths and values, such as "
                f'{{"optimizer.learning_rate": 0.001}}; got {json.dumps(row)}.'
            )
    return [row for _, row in numbered]
