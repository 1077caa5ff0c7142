"""The folder of a sweep: what may be there, what is written, who owns it.

What is in it, `kauldron.workdir.sweep_file` says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import konfig
from kauldron._base import shared_files, text_tables
from kauldron.launch._backend import LaunchError, Task
from kauldron.launch.sweeps import _sweep
from kauldron.workdir import lock, sweep_file, workdirs
from kauldron.workdir.sweep_file import SavedSweep


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
        folder = self.path / sweep_file.TASKS_FOLDER
        return sweep.task(
            trial,
            log=os.fspath(folder / f"{trial.name}.log"),
            record=os.fspath(folder / f"{trial.name}.json"),
        )

    def read(self) -> SavedSweep | None:
        """Returns what the sweep is; `None` if there is none.

        Raises:
          SweepFileError: If the file is damaged.
        """
        return sweep_file.read(self.path)

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
        near = [p.parent.name for p in self.path.glob(f"*/{sweep_file.SWEEP_FILE}")]
        hint = f" There are sweeps in it: {', '.join(sorted(near))}." if near else ""
        raise LaunchError(
            f"{os.fspath(self.path)!r} is no folder of a sweep, as it has no "
            f"{sweep_file.SWEEP_FILE!r}: {holds}{hint}"
        )

    def write(self, saved: SavedSweep, base_config: Any) -> None:
        """Writes what the sweep is."""
        shared_files.write_atomically(
            self.path / sweep_file.BASE_CONFIG_FILE, base_config.to_json(indent=2)
        )
        sweep_file.write(self.path, saved)

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
        base = self.path / sweep_file.BASE_CONFIG_FILE
        if base.exists():
            difference = konfig.diff(base, sweep.base_config)
            if difference:
                raise LaunchError(
                    f"{os.fspath(self.path)!r} holds a sweep of another config. What "
                    f"differs (there -> now):\n{difference}\nChoose another "
                    "`--workdir=...`, or undo the change."
                )
        if sweep.varies:
            return
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


def add(
    folder: SweepFolder,
    saved: SavedSweep,
    sweep: _sweep.Sweep,
    overrides: Mapping[str, Any],
) -> tuple[SavedSweep, _sweep.Trial]:
    """Writes a further trial; returns the sweep with it, and the trial.

    For the process that owns the folder.
    """
    added = dataclasses.replace(sweep, trials=[overrides])
    (trial,) = added.plan(saved.trials, saved.labels)
    if trial not in saved.trials:
        saved = dataclasses.replace(saved, trials=[*saved.trials, trial])
        sweep_file.write(folder.path, saved)
    return saved, trial


def describe_plan(sweep: _sweep.Sweep) -> list[str]:
    """Returns a line per trial: its name, and what differs; starts and writes nothing.

    Raises:
      LaunchError: If another sweep is there.
      ConfigError: If the config of a trial is wrong.
    """
    trials = plan(SweepFolder(sweep.workdir), sweep)
    rows = [[trial.name, " ".join(_sweep.to_flags(trial))] for trial in trials]
    return text_tables.aligned(rows).splitlines()
