"""Directory layout of checkpoints: `workdir/checkpoints/ckpt_<step>/<item>/`."""

from __future__ import annotations

import datetime
import errno
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.checkpoints import _errors, items
from kauldron.workdir import lock, workdirs

FOLDER = workdirs.CHECKPOINTS_FOLDER
METRICS_ITEM = items.METRICS_NAME
_STEP_PREFIX = "ckpt_"
_STEP_NAME = re.compile(rf"{_STEP_PREFIX}(\d+)")

# What a process that was killed may leave behind: never complete, never read.
_DELETING_SUFFIX = ".deleting"
_LEFTOVER = re.compile(
    rf"{_STEP_PREFIX}\d+(\.orbax-checkpoint-tmp.*|{re.escape(_DELETING_SUFFIX)})"
)

# Name of an item -> the names under which the published package stores it.
_PUBLISHED_NAMES = {"state": "default", "chrono": "timer"}

# How `rmtree` fails while somebody makes or deletes files in the folder.
_STILL_IN_USE = (errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT)


def checkpoints_dir(workdir: epath.PathLike | None) -> epath.Path:
    """Returns the folder of a run's checkpoints, absolute as Orbax wants it.

    Raises:
      WorkdirError: If the run has no workdir.
    """
    directory = lock.given(workdir) / FOLDER
    if is_remote(directory):
        return directory
    return epath.Path(os.path.abspath(directory.expanduser()))


def step_dir(directory: epath.Path, step: int) -> epath.Path:
    """Returns the folder of a step."""
    return directory / f"{_STEP_PREFIX}{step}"


def step_of(path: epath.Path) -> int | None:
    """Returns the step of a folder from its name; `None` if it is not a step."""
    match = _STEP_NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def step_dirs(directory: epath.Path) -> dict[int, epath.Path]:
    """Returns the folders of the complete steps, in ascending order.

    Raises:
      CheckpointError: If it is a file.
    """
    if not directory.exists():
        return {}
    if directory.is_file():
        raise _errors.CheckpointError(
            f"{os.fspath(directory)!r} is a file, where a run has the folder of its "
            "checkpoints. Move it away, or choose another `--cfg.workdir=...`."
        )
    found = {}
    for path in directory.iterdir():
        step = step_of(path)
        if step is not None and _is_committed(path):
            found[step] = path
    return dict(sorted(found.items()))


def _is_committed(path: epath.Path) -> bool:
    # A folder gets its name by renaming when it is complete; object stores can't
    # rename: there, Orbax writes this file last.
    return not is_remote(path) or (path / "commit_success.txt").exists()


def is_remote(path: epath.Path) -> bool:
    """Whether a path is in an object store."""
    return "://" in os.fspath(path)


def remove_step(directory: epath.Path, step: int) -> None:
    """Deletes a step; it stops counting immediately, even if the process is killed."""
    path = step_dir(directory, step)
    if not is_remote(path):  # an object store copies to rename
        path = path.rename(path.with_name(path.name + _DELETING_SUFFIX))
    path.rmtree()


def remove_leftovers(directory: epath.Path) -> None:
    """Deletes leftovers of killed processes and failed saves; needs the run's lock.

    After a failed save, Orbax may still write into its folder: what can't be deleted
    yet waits for the next call.
    """
    try:
        leftovers = [p for p in directory.iterdir() if _LEFTOVER.fullmatch(p.name)]
    except FileNotFoundError:
        return
    for path in leftovers:
        try:
            path.rmtree(missing_ok=True)
        except OSError as e:
            if e.errno not in _STILL_IN_USE:
                raise


def move_aside(directory: epath.Path, step: int) -> epath.Path:
    """Moves a damaged step aside for inspection; returns its new path."""
    return shared_files.move_aside(step_dir(directory, step))


def all_files(folder: epath.Path) -> dict[str, epath.Path]:
    """Returns all files below a folder by their path in it, sorted."""
    found = {}
    waiting = [folder]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.is_dir():
                waiting.append(path)
            else:
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def saved_at(folder: epath.Path) -> datetime.datetime:
    """Returns when a step was saved."""
    try:
        content = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
        secs = content["commit_timestamp_nsecs"] / 1e9
    except (OSError, ValueError, KeyError, TypeError):
        secs = folder.stat().mtime
    return datetime.datetime.fromtimestamp(secs, tz=datetime.UTC)


def read_metrics(folder: epath.Path) -> Mapping[str, Any] | None:
    """Returns what was measured at a step, `None` if nothing was or it is damaged."""
    try:
        metrics = json.loads((folder / METRICS_ITEM / "metrics").read_text())
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, Mapping) else None


def write_metrics(folder: epath.Path, metrics: Mapping[str, Any]) -> list[str]:
    """Stores what was measured at a step; returns the new files, by their path in it."""
    item = folder / METRICS_ITEM
    part = item.with_name(f"{METRICS_ITEM}.part")
    part.mkdir(parents=True, exist_ok=True)
    (part / METRICS_ITEM).write_text(json.dumps(json_values(metrics)))
    part.rename(item)
    return [f"{METRICS_ITEM}/{METRICS_ITEM}"]


def json_values(metrics: Any) -> Any:
    """Returns nested numbers in JSON form, leaving out whatever is not a number."""
    if isinstance(metrics, Mapping):
        values = {str(k): json_values(v) for k, v in metrics.items()}
        return {k: v for k, v in values.items() if v is not None}
    try:
        return float(metrics)
    except (TypeError, ValueError):
        return None


def open_step(workdir: epath.PathLike, step: int = -1) -> tuple[int, epath.Path]:
    """Returns a step of a run, and its folder.

    Args:
      workdir: Directory of the run.
      step: Which step; -1 is the newest.

    Raises:
      NoCheckpointError: If the run or the step does not exist. It lists what does.
    """
    directory = checkpoints_dir(workdir)
    found = step_dirs(directory)
    if not found:
        wanted = "checkpoint" if step == -1 else f"checkpoint of step {step}"
        raise _errors.NoCheckpointError(_nothing(epath.Path(workdir), wanted))
    if step == -1:
        step = max(found)
    if step not in found:
        raise _errors.NoCheckpointError(
            f"There is no step {step} in {os.fspath(directory)!r}; found steps "
            f"{list(found)}."
        )
    return step, found[step]


def find_item(folder: epath.Path, name: str) -> epath.Path | None:
    """Returns the folder of an item, also if it has the published name."""
    for candidate in (name, _PUBLISHED_NAMES.get(name)):
        if candidate and (folder / candidate).is_dir():
            return folder / candidate
    return None


def is_published(folder: epath.Path) -> bool:
    """Whether a step was written by the published package."""
    return not (folder / "state").is_dir() and (folder / "default").is_dir()


def _nothing(workdir: epath.Path, wanted: str) -> str:
    quoted = repr(os.fspath(workdir))
    if workdir.name == FOLDER or step_of(workdir) is not None:
        levels = 1 if workdir.name == FOLDER else 2
        run = os.fspath(workdir.parents[levels - 1])
        return (
            f"There is no {wanted} in {quoted}: a workdir is the folder that holds "
            f"{FOLDER!r}. Did you mean {run!r}?"
        )
    if (workdir / FOLDER).is_dir():
        return f"There is no {wanted} in {quoted}: no save was completed."
    if workdir.is_dir():
        return (
            f"There is no {wanted} in {quoted}: {workdirs.describe_contents(workdir)}"
        )
    return workdirs.describe_missing(workdir)
