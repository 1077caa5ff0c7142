"""The folder of a sweep, on disk.

```text
runs/sweep/
  sweep.json               what the sweep is, and its trials: name and overrides
  base_config.json         the config that all trials share
  tasks/NAME.json          the last start of a trial: when, where, its exit code
  tasks/NAME.log           what it printed
  NAME/                    the workdir of the trial, as of every run
```

Every file is replaced as a whole. Nothing else is kept: how a trial is doing follows from
its record, and from the `status.json` and `metrics.jsonl` of its workdir.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import konfig
from kauldron._base import shared_files, text_tables
from kauldron.launch._backend import LaunchError, Task
from kauldron.launch.sweeps import _sweep
from kauldron.workdir import lock, workdirs

SWEEP_FILE = "sweep.json"
BASE_CONFIG_FILE = "base_config.json"
TASKS_FOLDER = "tasks"
_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedSweep:
    """What `sweep.json` says.

    Attributes:
      config: Path of the config file, as given.
      flags: What all trials share, as flags.
      labels: Path -> its short name, in the names of trials.
      trials: All trials there ever were, in the order in which they came.
      metric: What trials are compared by, as given: `'eval.accuracy'`.
      mode: Whether its largest or its smallest value is the best: `'max'`, `'min'`.
      backend: What has started its trials last: `{'name': 'local', 'fields': {...}}`.
      trust: Packages that the config may name, if it is a `config.json` from elsewhere.
      created: When, in seconds since 1970.
    """

    config: str
    flags: Sequence[str]
    labels: Mapping[str, str]
    trials: Sequence[_sweep.Trial]
    metric: str | None = None
    mode: str | None = None
    backend: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"name": "local", "fields": {}}
    )
    trust: Sequence[str] = ()
    created: float = 0.0


class SweepFolder:
    """The folder of a sweep.

    Args:
      path: Where it is.
    """

    def __init__(self, path: epath.PathLike) -> None:
        self.path = epath.Path(path)

    def task_of(self, trial: _sweep.Trial, saved: SavedSweep) -> Task:
        """Returns the command line of a trial, and where it leaves what."""
        sweep = _sweep.Sweep(
            cfg=saved.config,
            workdir=os.fspath(self.path),
            trials=[{}],
            flags=saved.flags,
            trust=saved.trust,
        )
        folder = self.path / TASKS_FOLDER
        return sweep.task(
            trial,
            log=os.fspath(folder / f"{trial.name}.log"),
            record=os.fspath(folder / f"{trial.name}.json"),
        )

    def read(self) -> SavedSweep | None:
        """Returns what the sweep is; `None` if there is none.

        Raises:
          LaunchError: If the file is damaged.
        """
        try:
            content = json.loads((self.path / SWEEP_FILE).read_text())
            trials = [
                _sweep.Trial(name=t["name"], overrides=t["overrides"])
                for t in content["trials"]
            ]
            names = [f.name for f in dataclasses.fields(SavedSweep)]
            known = {k: v for k, v in content.items() if k in names}
            return SavedSweep(**{**known, "trials": trials})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as e:
            raise LaunchError(
                f"{os.fspath(self.path / SWEEP_FILE)!r} is damaged: {e}. Its trials are "
                "the folders beside it; remove the file to begin a sweep anew with them."
            ) from e

    def open(self) -> SavedSweep:
        """Returns what the sweep is.

        Raises:
          LaunchError: If there is no sweep here; says what is.
        """
        saved = self.read()
        if saved is not None:
            return saved
        if not self.path.is_dir():
            raise LaunchError(
                workdirs.describe_missing(self.path).replace(
                    "no workdir", "no sweep", 1
                )
            )
        holds = workdirs.describe_contents(self.path)
        near = [p.parent.name for p in self.path.glob(f"*/{SWEEP_FILE}")]
        hint = f" There are sweeps in it: {', '.join(sorted(near))}." if near else ""
        raise LaunchError(
            f"{os.fspath(self.path)!r} is no folder of a sweep, as it has no "
            f"{SWEEP_FILE!r}: {holds}{hint}"
        )

    def write(self, saved: SavedSweep, base_config: Any) -> None:
        """Writes what the sweep is."""
        shared_files.write_atomically(
            self.path / BASE_CONFIG_FILE, base_config.to_json(indent=2)
        )
        content = {"version": _VERSION, **dataclasses.asdict(saved)}
        shared_files.write_atomically(
            self.path / SWEEP_FILE, json.dumps(content, indent=2)
        )

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Owns the sweep inside the block; the lock goes away with the process.

        Raises:
          LaunchError: If another process works on it.
          WorkdirError: If the folder cannot be written.
        """
        lock.make_writable(self.path)
        try:
            with shared_files.exclusive(self.path / ".lock", blocking=False):
                yield
        except BlockingIOError:
            raise LaunchError(
                f"Another `kauldron sweep` works on {os.fspath(self.path)!r}. Wait for "
                "it, or stop it with Ctrl-C; `kauldron sweep ls --workdir=...` shows how "
                "its trials are doing."
            ) from None

    def check_free(self) -> None:
        """Makes sure that the folder is a sweep, or holds no run.

        Raises:
          LaunchError: If it is the workdir of a run.
        """
        if (self.path / workdirs.CONFIG_FILE).exists():
            raise LaunchError(
                f"{os.fspath(self.path)!r} is the workdir of a run, not of a sweep. "
                "Choose another `--workdir=...`."
            )

    def check_same(self, saved: SavedSweep, sweep: _sweep.Sweep) -> None:
        """Makes sure that a sweep is the one that is here, perhaps with more trials.

        Raises:
          LaunchError: If the config is another, or other paths differ between trials;
            says what differs.
        """
        base = self.path / BASE_CONFIG_FILE
        if base.exists():
            difference = konfig.diff(base, sweep.base_config)
            if difference:
                raise LaunchError(
                    f"{os.fspath(self.path)!r} holds a sweep of another config. What "
                    f"differs (there -> now):\n{difference}\nChoose another "
                    "`--workdir=...`, or undo the change."
                )
        there = {path for trial in saved.trials for path in trial.overrides}
        now = {path for overrides in sweep.trials for path in overrides}
        planned = {trial.key for trial in sweep.plan(saved.trials, saved.labels)}
        if there == now or planned >= {trial.key for trial in saved.trials}:
            return
        only_there, only_now = sorted(there - now), sorted(now - there)
        parts = [f"there it varies {_listed(only_there)}"] if only_there else []
        parts += [f"now {_listed(only_now)}"] if only_now else []
        raise LaunchError(
            f"{os.fspath(self.path)!r} holds another sweep: {', '.join(parts)}. Choose "
            "another `--workdir=...`."
        )


def _listed(paths: Sequence[str]) -> str:
    """Returns paths for a message."""
    return ", ".join(f"`{path}`" for path in paths)


def plan(folder: SweepFolder, sweep: _sweep.Sweep) -> list[_sweep.Trial]:
    """Returns the trials of a sweep, named as in the folder; writes nothing.

    Raises:
      LaunchError: If another sweep is there, or a run.
      ConfigError: If the config of a trial is wrong.
    """
    folder.check_free()
    saved = folder.read()
    if saved is None:
        trials = sweep.plan()
    else:
        folder.check_same(saved, sweep)
        trials = sweep.plan(saved.trials, saved.labels)
    sweep.check(trials)
    return trials


def save(
    folder: SweepFolder,
    sweep: _sweep.Sweep,
    *,
    metric: str | None,
    mode: str | None,
    backend: Mapping[str, Any],
) -> tuple[SavedSweep, list[_sweep.Trial]]:
    """Writes a sweep, or adds its trials to the one that is there; returns it,
    and the trials that are asked for.

    For the process that owns the folder, after `plan`.
    """
    saved = folder.read()
    known = saved.trials if saved else ()
    labels = sweep.labels(saved.labels if saved else None)
    trials = sweep.plan(known, labels)
    keys = {trial.key for trial in known}
    saved = SavedSweep(
        config=sweep.cfg,
        flags=list(sweep.flags),
        labels=labels,
        trials=[*known, *(t for t in trials if t.key not in keys)],
        metric=metric or (saved.metric if saved else None),
        mode=mode or (saved.mode if saved else None),
        backend=backend,
        trust=list(sweep.trust),
        created=saved.created if saved else time.time(),
    )
    folder.write(saved, sweep.base_config)
    return saved, trials


def describe_plan(sweep: _sweep.Sweep) -> list[str]:
    """Returns a line per trial: its name, and what differs; starts and writes nothing.

    Raises:
      LaunchError: If another sweep is there.
      ConfigError: If the config of a trial is wrong.
    """
    trials = plan(SweepFolder(sweep.workdir), sweep)
    rows = [[trial.name, " ".join(_sweep.to_flags(trial))] for trial in trials]
    return text_tables.aligned(rows).splitlines()
