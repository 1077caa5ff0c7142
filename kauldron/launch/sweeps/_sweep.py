"""`Sweep`: a config, what its runs share, and what differs between them."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kauldron import konfig
from kauldron.launch import _backend
from kauldron.launch.sweeps import _trial_names
from kauldron.workdir import workdirs
from kauldron.workdir.sweep_file import Trial

_WORKDIR_PATH = "workdir"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Many runs of one config, each in a workdir of its own.

    Attributes:
      cfg: Path of the config file, as for `--cfg=`.
      workdir: Folder of the sweep.
      trials: What differs: `{path: value}` for each run.
      flags: What all runs share: `('--cfg.num_train_steps=200',)`.
      trust: Packages that a `config.json` from elsewhere may name.
      varies: Paths that differ between trials that are added while it runs.

    Example:

    ```python
    from kauldron import kd

    sweep = kd.launch.Sweep(
        cfg="examples/digits_classifier.py",
        workdir="runs/sweep",
        trials=[{"aux.num_features": n} for n in (8, 16, 32)],
    )
    names = [trial.name for trial in sweep.plan()]
    assert names == ["num_features=8", "num_features=16", "num_features=32"]
    ```
    """

    cfg: str
    workdir: str
    trials: Sequence[Mapping[str, Any]]
    flags: Sequence[str] = ()
    trust: Sequence[str] = ()
    varies: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.trials and not self.varies:
            raise _backend.LaunchError("A sweep needs at least one trial.")
        paths = [o.path for o in self.shared_overrides]
        paths += [*self.varies, *(p for t in self.trials for p in t)]
        if _WORKDIR_PATH in paths:
            raise _backend.LaunchError(
                "`cfg.workdir` of each trial is a folder in the workdir of the sweep: "
                "give `--workdir=runs/sweep`, and no `--cfg.workdir`."
            )

    @functools.cached_property
    def shared_overrides(self) -> list[konfig.Override]:
        """The overrides of all runs."""
        return konfig.parse_overrides(list(self.flags))

    @functools.cached_property
    def base_config(self) -> konfig.ConfigDict:
        """The config that all runs share.

        Raises:
          ConfigError: If something in it is wrong.
        """
        return self._load(())

    def plan(
        self, known: Iterable[Trial] = (), labels: Mapping[str, str] | None = None
    ) -> list[Trial]:
        """Returns the trials with their names; those that set the same are one.

        Args:
          known: Trials that have names, which stay.
          labels: Short names of paths, which stay.
        """
        by_key = {trial.key: trial for trial in known}
        labels = self.labels(labels)
        taken = {trial.name for trial in by_key.values()}
        planned: dict[str, Trial] = {}
        for overrides in self.trials:
            texts = {p: konfig.to_flag_value(v) for p, v in overrides.items()}
            trial = Trial(name="", overrides=texts)
            if trial.key in planned:
                continue
            if trial.key in by_key:
                planned[trial.key] = by_key[trial.key]
                continue
            name = _trial_names.to_name(overrides, texts, labels, taken)
            taken.add(name)
            planned[trial.key] = dataclasses.replace(trial, name=name)
        return list(planned.values())

    def labels(self, known: Mapping[str, str] | None = None) -> dict[str, str]:
        """Returns a short name for each path that differs between trials."""
        paths = [*self.varies, *(p for overrides in self.trials for p in overrides)]
        return _trial_names.to_labels(paths, known)

    def check(self, trials: Iterable[Trial]) -> None:
        """Makes the config of each trial, so that mistakes show before anything starts.

        Raises:
          ConfigError: A path that does not exist, or a value that does not fit.
        """
        for trial in trials:
            self._load(konfig.parse_overrides(to_flags(trial)))

    def _load(self, overrides: Iterable[konfig.Override]) -> konfig.ConfigDict:
        overrides = [*self.shared_overrides, *overrides]
        return workdirs.load_config_file(self.cfg, overrides, trusted=self.trust)

    def task(self, trial: Trial, *, log: str, record: str) -> _backend.Task:
        """Returns the command line of a trial, and where it leaves what."""
        workdir = os.path.join(self.workdir, trial.name)
        return _backend.Task(
            name=trial.name,
            args=(
                f"--cfg={self.cfg}",
                *self.flags,
                *to_flags(trial),
                f"--cfg.{_WORKDIR_PATH}={konfig.to_flag_value(workdir)}",
                *([f"--trust={','.join(self.trust)}"] if self.trust else []),
            ),
            workdir=workdir,
            log=log,
            record=record,
        )


def to_flags(trial: Trial) -> list[str]:
    """Returns what differs in a trial as flags: `['--cfg.seed=1']`."""
    flags = []
    for path, text in trial.overrides.items():
        dot = "" if path.startswith("[") else "."
        flags.append(f"--cfg{dot}{path}={text}")
    return flags
