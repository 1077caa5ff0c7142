"""`study.json`: what a study is, beside the trials in `sweep.json`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath

from kauldron._base import shared_files
from kauldron.tracking.tuning._values import StudyError
from kauldron.workdir import ranking, sweep_file, workdirs

STUDY_FILE = "study.json"
_VERSION = 1
# What makes another study of it; the rest may change while it goes on.
_FIXED = {"space": "the space", "metric": "the metric", "mode": "the direction"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedStudy:
    """What `study.json` says.

    Attributes:
      space: Path -> its values, as text.
      metric: What trials are compared by.
      mode: Which of its values is the best.
      num_trials: How many trials there are to be.
      sampler: What proposes trials.
      pruner: What ends trials early.
      seed: Of what is random.
    """

    space: Mapping[str, str]
    metric: str
    mode: ranking.Mode
    num_trials: int
    sampler: str
    pruner: str
    seed: int


def read(folder: epath.PathLike) -> SavedStudy | None:
    """Returns what the study of a folder is; `None` if there is none.

    Raises:
      StudyError: If the file is damaged, or of a newer version.
    """
    path = epath.Path(folder) / STUDY_FILE
    try:
        content = json.loads(path.read_text())
        if content["version"] > _VERSION:
            raise StudyError(
                f"{os.fspath(path)!r} was written by a newer version of Kauldron."
            )
        names = [field.name for field in dataclasses.fields(SavedStudy)]
        return SavedStudy(**{name: content[name] for name in names})
    except shared_files.MISSING:
        return None
    except StudyError:
        raise
    except (ValueError, TypeError, KeyError) as e:
        raise StudyError(
            f"{os.fspath(path)!r} is damaged: {type(e).__name__} {e}. Remove it, and start "
            "the study again with the same arguments: its trials stay."
        ) from e


def open(folder: epath.PathLike) -> SavedStudy:
    """Returns what the study of a folder is.

    Raises:
      StudyError: If there is none; says what is there.
    """
    saved = read(folder)
    if saved is not None:
        return saved
    path = epath.Path(folder)
    if not path.is_dir():
        missing = workdirs.describe_missing(path)
        raise StudyError(missing.replace("no workdir", "no study", 1))
    near = sorted(p.parent.name for p in path.glob(f"*/{STUDY_FILE}"))
    hint = f" There are studies in it: {', '.join(near)}." if near else ""
    raise StudyError(
        f"{os.fspath(path)!r} is no folder of a study, as it has no {STUDY_FILE!r}: "
        f"{workdirs.describe_contents(path)}{hint}"
    )


def write(folder: epath.PathLike, saved: SavedStudy) -> None:
    """Writes what the study of a folder is."""
    content = {"version": _VERSION, **dataclasses.asdict(saved)}
    path = epath.Path(folder) / STUDY_FILE
    shared_files.write_atomically(path, json.dumps(content, indent=2))


def check_same(folder: epath.PathLike, study: SavedStudy) -> None:
    """Makes sure that a study is the one of a folder, or the first thing in it.

    Raises:
      StudyError: If something else is there; says what differs.
    """
    saved = read(folder)
    if saved is None:
        _check_empty(folder, study)
        return
    differences = [
        f"{what}: {_shown(there)} -> {_shown(now)}"
        for name, what in _FIXED.items()
        if (there := getattr(saved, name)) != (now := getattr(study, name))
    ]
    if differences:
        raise StudyError(
            f"{os.fspath(folder)!r} holds another study. What differs (there -> now):\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nIts trials cannot be compared with those that would come: choose "
            "another `--workdir=...`, or ask for the same."
        )


def _check_empty(folder: epath.PathLike, study: SavedStudy) -> None:
    sweep = sweep_file.read(folder)
    # Trials of exactly these paths are those of a study whose file was removed.
    if sweep is not None and set(sweep.labels) != set(study.space):
        raise StudyError(
            f"{os.fspath(folder)!r} holds a sweep, whose trials nobody has proposed. "
            "Choose another `--workdir=...`."
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{path}={text}" for path, text in value.items())
    return str(value)
