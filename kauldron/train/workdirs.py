"""What a run left behind in its workdir: its config, and the objects it describes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from etils import enp, epath

from kauldron import errors, konfig, kontext
from kauldron.train import _run_files


class WorkdirConfigError(errors.UserError, ValueError):
    """A workdir that has no config, or no such part of it."""


def check_run(workdir: epath.PathLike) -> None:
    """Raises `WorkdirConfigError` if a directory has no run with a config."""
    _find(workdir, _run_files.CONFIG_FILE)


def load_config(workdir: epath.PathLike, *, trusted: Iterable[str] = ()) -> Any:
    """Returns the config of a run, see `konfig.load`.

    Args:
      workdir: Directory of the run.
      trusted: Packages whose names the config may use, besides those that `konfig.load`
        accepts; `["*"]` for a run of your own.

    Raises:
      WorkdirConfigError: If there is no config.
    """
    path = _find(workdir, _run_files.CONFIG_FILE)
    return konfig.load(path, trusted=trusted)


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
    path = _find(workdir, _run_files.ELEMENT_SPEC_FILE)
    return _to_specs(json.loads(path.read_text()))


def _find(workdir: epath.PathLike | None, name: str) -> epath.Path:
    if workdir is None:
        raise WorkdirConfigError(
            "No other run is given: say which, with `--cfg.aux.workdir=runs/digits`."
        )
    path = epath.Path(workdir) / name
    if not path.exists():
        shown = os.fspath(workdir)
        siblings = path.parent.parent.glob("*") if path.parent.parent.exists() else ()
        hint = errors.did_you_mean(shown, map(os.fspath, siblings))
        raise WorkdirConfigError(
            f"There is no run in {shown!r}: no {name!r} is there.{hint}"
        )
    return path


def _to_specs(node: Any) -> Any:
    if isinstance(node, list):
        return [_to_specs(x) for x in node]
    if node.keys() == {"shape", "dtype"} and isinstance(node["dtype"], str):
        is_text = node["dtype"] == str(str)
        dtype = str if is_text else node["dtype"]
        return enp.ArraySpec(shape=tuple(node["shape"]), dtype=dtype)
    return {k: _to_specs(v) for k, v in node.items()}
