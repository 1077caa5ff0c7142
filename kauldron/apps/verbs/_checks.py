"""What a user says of an app, compared with its run: settable paths, labels."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.verbs import _configs, _layout


def check_allowed(folder: pathlib.Path, globs: Sequence[str]) -> None:
    """Raises `AppError` if a config of the app has none of the fields of a glob.

    Args:
      folder: Of the app; its configs are written.
      globs: Of paths that a call may set.
    """
    names = (_layout.PREDICTS, _layout.INPUTS, _layout.CONFIG)
    files = {
        folder / name: _configs.foreign_packages(folder / name)
        for name in names
        if (folder / name).exists()
    }
    for glob in globs:
        path = re.split(r"\.?[^.]*[*?\[]", glob, maxsplit=1)[0]  # what is literal
        if not path or any(_can_set(file, path, files[file]) for file in files):
            continue
        paths = [
            x for file in files for x, _ in _nodes(_configs.read(file, {}, files[file]))
        ]
        raise AppError(
            f"`--allow={glob}`: the config of the app has no `{path}` that a call could "
            f"set.{errors.did_you_mean(path, paths)}"
        )


def check_labels(numbers: Iterable[int], num_classes: Mapping[str, int]) -> None:
    """Raises `AppError` if a label is of a class that no output has.

    Args:
      numbers: Of the labels.
      num_classes: Name of an output -> how many classes it has; empty if not known.
    """
    if not num_classes:
        return
    most = max(num_classes.values())
    wrong = [number for number in numbers if number >= most]
    if wrong:
        raise AppError(
            f"`--labels`: there is no class {wrong[0]}, those of "
            f"{', '.join(map(repr, num_classes))} are 0 to {most - 1}."
        )


def _can_set(file: pathlib.Path, path: str, trusted: Sequence[str]) -> bool:
    nodes = dict(_nodes(_configs.read(file, {}, trusted)))
    if path in nodes:
        return True
    above = nodes.get(path.rpartition(".")[0])
    if not isinstance(above, konfig.ConfigDict) or "__qualname__" not in above:
        return False
    try:  # an argument that is not given, of a call
        _configs.read(file, {path: None}, trusted)
    except konfig.ConfigError:
        return False
    return True


def _nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and node, of all but what is in lists: globs do not reach that."""
    yield path, node
    if isinstance(node, konfig.ConfigDict):
        for key, child in node.items():
            if not str(key).startswith("__"):
                yield from _nodes(child, f"{path}.{key}" if path else str(key))
