"""Published import path of `kd.xm`. There is no XManager here, only workdirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from etils import epath

from kauldron import konfig
from kauldron._base import console, public
from kauldron.workdir import workdirs


def load_config_from_path(
    workdir: epath.PathLike, lazy: bool = False, *, trusted: Iterable[str] = ()
) -> Any:
    """Returns the config of a run, as it was resolved.

    Args:
      workdir: Directory of the run.
      lazy: Whether to stop there. Otherwise what the config names is imported, and its
        arguments are checked, so that mistakes in it are reported now.
      trusted: Packages whose names the config may use, see `konfig.load`.

    Raises:
      WorkdirConfigError: If there is no config.
      ConfigError: If the config cannot be resolved, unless `lazy`.
    """
    cfg = workdirs.load_config(workdir, trusted=trusted)
    problems = [] if lazy else [p for p in konfig.check(cfg) if p.is_error]
    if problems:
        raise workdirs.WorkdirConfigError("\n".join(map(str, problems)))
    return cfg


class Experiment:
    """An experiment on XManager; cannot be looked up here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise _no_xmanager("An `Experiment`", _WORKDIR)

    @classmethod
    def from_xid(cls, xid: int, wid: int = 1, lazy: bool = False) -> Experiment:
        """Always raises `NoXManagerError`."""
        raise _no_xmanager(f"The experiment {xid}/{wid}", _WORKDIR)


class WorkUnit:
    """A work unit on XManager; cannot be looked up here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise _no_xmanager("A `WorkUnit`", _WORKDIR)


def add_colab_artifacts(*args: Any, **kwargs: Any) -> None:
    """Always raises `NoXManagerError`."""
    raise _no_xmanager("A link to a notebook", _NOTE)


def add_log_artifacts(*args: Any, **kwargs: Any) -> None:
    """Always raises `NoXManagerError`."""
    raise _no_xmanager("A link to the logs", _NOTE)


def add_tags_to_xm(*args: Any, **kwargs: Any) -> None:
    """Always raises `NoXManagerError`."""
    raise _no_xmanager("A tag", _NOTE)


_WORKDIR = (
    "A run is known by its workdir: `kd.xm.load_config_from_path('runs/my_run')`, "
    "`kd.train.workdirs.get_resolved('runs/my_run')`."
)
_NOTE = "Write what should be kept with a run into `cfg.aux`, or into its workdir."


def _no_xmanager(what: str, instead: str) -> console.NoXManagerError:
    return console.NoXManagerError(
        f"{what} lives on XManager, which this package does not use. {instead}"
    )


__all__ = [
    "Experiment",
    "WorkUnit",
    "add_colab_artifacts",
    "add_log_artifacts",
    "add_tags_to_xm",
    "load_config_from_path",
]

__dir__ = public.publish(__name__)
