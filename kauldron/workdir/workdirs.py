"""Workdir layout: the names of its files, its config, and building that config."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from etils import epath

from kauldron import konfig, kontext
from kauldron._base import errors, shared_files
from kauldron.workdir import signatures

CONFIG_FILE = "config.json"
PYTHON_FILE = "config.py"
RECORD_FILE = "config_record.json"
ELEMENT_SPEC_FILE = "element_spec.json"
CHECKPOINTS_FOLDER = "checkpoints"


class WorkdirConfigError(errors.UserError, ValueError):
    """A workdir that does not exist, has no config, or no such part of it."""


def check_run(workdir: epath.PathLike) -> None:
    """Raises `WorkdirConfigError` if a directory has no run with a config."""
    _find(workdir, CONFIG_FILE)


def trusted_packages(
    path: epath.PathLike, trusted: Iterable[str] = ()
) -> tuple[str, ...]:
    """Returns the packages that a config may name: `"*"`, all, if it is your own.

    A config is your own if one of your runs has written and signed it.

    Args:
      path: A workdir, or its `config.json`.
      trusted: Packages that you trust in any case.
    """
    config = epath.Path(path)
    if config.name != CONFIG_FILE:
        config = config / CONFIG_FILE
    return ("*",) if signatures.is_own(config) else tuple(trusted)


def load_config_file(
    path: str,
    overrides: Iterable[konfig.Override] = (),
    *,
    trusted: Iterable[str] = (),
) -> konfig.ConfigDict:
    """Returns the config that `--cfg=` names, as commands load it.

    Args:
      path: A Python file, a `config.json`, or a workdir.
      overrides: Changes of the config.
      trusted: Packages that a config may name that is neither Python nor your own.

    Raises:
      ConfigError: If something in it is wrong.
    """
    if not path.partition(":")[0].endswith(".py"):
        trusted = trusted_packages(path, trusted)
    return konfig.load_config_file(
        path, overrides=overrides, trusted=trusted, allow_absent=True
    )


def load_config(
    workdir: epath.PathLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    trusted: Iterable[str] = (),
) -> Any:
    """Returns the config of a run, see `konfig.load`.

    Args:
      workdir: Directory of the run. The config names it as its workdir, also if the run
        was moved there.
      overrides: Changes of the config: `{"eval_ds.batch_size": 8}`.
      trusted: Packages whose names the config may use, besides those that `konfig.load`
        accepts; `["*"]` for all. What your own runs have written may use all.

    Raises:
      WorkdirConfigError: If there is no config.
    """
    path = _find(workdir, CONFIG_FILE)
    trusted = trusted_packages(path, trusted)
    cfg = konfig.load_config_file(path, overrides=overrides or {}, trusted=trusted)
    return at(cfg, workdir)


def at(cfg: Any, workdir: epath.PathLike) -> Any:
    """Returns the config of a run as that of the place where the run now is."""
    cfg.workdir = os.fspath(workdir)
    return cfg


def get_resolved(
    workdir: epath.PathLike,
    *,
    path: str | None = None,
    trusted: Iterable[str] = (),
    config_update_fn: Callable[[Any], Any] = lambda cfg: cfg,
) -> Any:
    """Returns what the config of a run describes, or a part of it.

    Args:
      workdir: Directory of the run.
      path: Path of the part, such as `'model'` or `'evals.test.ds'`; `None` for all.
      trusted: See `load_config`.
      config_update_fn: Changes the config before.

    Raises:
      WorkdirConfigError: If there is no config, or nothing at that path.

    Example:

    ```python
    model = kd.train.workdirs.get_resolved("runs/digits", path="model")
    ```
    """
    cfg = config_update_fn(load_config(workdir, trusted=trusted))
    if path is None:
        return konfig.resolve(cfg)
    try:
        part = kontext.get_by_path(cfg, path)
    except (KeyError, AttributeError, IndexError) as e:
        raise WorkdirConfigError(
            f"The config of {os.fspath(workdir)!r} has no {path!r}: {e}"
        ) from e
    return konfig.resolve(part) if isinstance(part, konfig.ConfigDict) else part


def get_element_spec(workdir: epath.PathLike) -> Any:
    """Returns the shapes and dtypes of a training batch, as `enp.ArraySpec`s.

    Raises:
      WorkdirConfigError: If the run has not written them.
    """
    path = _find(workdir, ELEMENT_SPEC_FILE)
    return _to_specs(json.loads(path.read_text()))


def describe_missing(workdir: epath.PathLike) -> str:
    """Returns a message for a workdir that does not exist: what does, nearby."""
    workdir = epath.Path(workdir)
    path = shared_files.file_on_the_way(workdir)
    if path is not None:
        return (
            f"There is no workdir {os.fspath(workdir)!r}: {os.fspath(path)!r} is a file, "
            "not a folder."
        )
    parent = workdir.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    names = sorted(path.name for path in parent.iterdir() if path.is_dir())
    # Above the workdir, too, a name may be mistyped.
    near = errors.nearest(workdir.relative_to(parent).parts[0], names, n=1)
    hint = f" Did you mean {os.fspath(parent / near[0])!r}?" if near else ""
    holds = f"holds {_some(names)}" if names else "holds no folder"
    return (
        f"There is no workdir {os.fspath(workdir)!r}: {os.fspath(parent)!r} exists and "
        f"{holds}.{hint}"
    )


def describe_contents(folder: epath.Path) -> str:
    """Returns what a folder that is not a workdir holds, and which runs are in it."""
    names = sorted(path.name for path in folder.iterdir())
    runs = [
        name
        for name in names
        if (folder / name / CONFIG_FILE).exists()
        or (folder / name / CHECKPOINTS_FOLDER).is_dir()
    ]
    holds = f"it holds {_some(names)}" if names else "it is empty"
    hint = f" Did you mean {os.fspath(folder / runs[0])!r}?" if runs else ""
    return f"{holds}.{hint}"


def _find(workdir: epath.PathLike | None, name: str) -> epath.Path:
    if workdir is None:
        raise WorkdirConfigError(
            "No other run is given: say which, with `--cfg.aux.workdir=runs/digits`."
        )
    folder = epath.Path(workdir)
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        raise WorkdirConfigError(describe_missing(folder))
    raise WorkdirConfigError(
        f"{os.fspath(workdir)!r} is no workdir of a run made from a config, as it has no "
        f"{name!r}: {describe_contents(folder)}"
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown}, and {len(names) - 8} more" if len(names) > 8 else shown


def _to_specs(node: Any) -> Any:
    from kauldron.workdir import array_spec  # imports NumPy

    if isinstance(node, list):
        return [_to_specs(x) for x in node]
    if node.keys() == {"shape", "dtype"} and isinstance(node["dtype"], str):
        is_text = node["dtype"] == str(str)
        dtype = str if is_text else node["dtype"]
        return array_spec.ArraySpec(shape=tuple(node["shape"]), dtype=dtype)
    return {k: _to_specs(v) for k, v in node.items()}
