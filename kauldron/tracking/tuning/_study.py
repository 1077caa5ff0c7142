"""`Study`: which values of a config are best, tried one after the other."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from kauldron import konfig
from kauldron._base import shared_files
from kauldron.tracking.tuning import (
    _history,
    _optuna,
    _space,
    _study_file,
    _values,
)
from kauldron.tracking.tuning._history import StudyTrial
from kauldron.tracking.tuning._values import StudyError
from kauldron.workdir import metric_names, sweep_file, workdirs

BEST_CONFIG_FILE = "best_config.py"
_HOOK = "pruning"
_HOOK_NODE = '{"__qualname__": "kauldron.kd:tracking.tune.PruneTrial"}'
# So many failures without a success are no accident.
_MAX_FAILURES = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Finds good values of a config: trials, each from how those before did.

    A trial is an ordinary run, in a workdir of its own in the folder of the study. The
    first one has the values of the config, if they are in the space.
    `kd.launch.run_sweep(study, backend)` runs it.

    Attributes:
      cfg: Path of the config file, as for `--cfg=`.
      workdir: Folder of the study.
      space: Path in the config -> `Int`, `Float` or `Choice`.
      num_trials: How many trials there are to be, failed ones among them.
      metric: What they are compared by, such as `'eval.accuracy'`; by which the
        checkpointer chooses unless given. A trial counts with its best value.
      mode: Whether its largest value is the best, `'max'`, or the smallest, `'min'`; as
        it is called unless given.
      sampler: What proposes trials: `tpe`, `random`, `gp`, `bruteforce`, or such as
        `TPESampler(n_startup_trials=5)`.
      pruner: What ends trials early: `none`, `median`, `halving`, `hyperband`, or such as
        `MedianPruner(n_startup_trials=3)`.
      seed: Of what is random.
      flags: What all trials share: `('--cfg.num_train_steps=200',)`.
      trust: Packages that a `config.json` from elsewhere may name.

    Raises:
      StudyError: If the space or a number is wrong.

    Example:

    ```python
    from kauldron import kd

    study = kd.tracking.tune.Study(
        cfg="examples/digits_classifier.py",
        workdir="runs/tune",
        space={"aux.num_features": kd.tracking.tune.Int(8, 64)},
        metric="eval.accuracy",
        num_trials=6,
    )
    assert study.paths == ["aux.num_features"]
    ```
    """

    cfg: str
    workdir: str
    space: Mapping[str, _values.Values]
    num_trials: int
    metric: str | None = None
    mode: str | None = None
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    flags: Sequence[str] = ()
    trust: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num_trials < 1:
            raise StudyError(f"A study has trials, at least 1: got {self.num_trials}.")
        given = {override.path for override in konfig.parse_overrides(list(self.flags))}
        for path in self.paths:
            if path in given:
                raise StudyError(
                    f"`{path}` differs between trials, and is given for all of them: "
                    f"leave out `--cfg.{path}=...`, or its space."
                )

    @functools.cached_property
    def _space(self) -> _space.Space:
        return _space.Space(self.space)

    @property
    def paths(self) -> list[str]:
        """What differs between trials."""
        return list(self._space.values)

    @property
    def trial_flags(self) -> list[str]:
        """What all trials share, as flags: also the hook by which they end early."""
        if self.base_config.get("hooks"):
            return [*self.flags, f"--cfg.hooks[{_HOOK!r}]={_HOOK_NODE}"]
        return [*self.flags, f'--cfg.hooks={{"{_HOOK}": {_HOOK_NODE}}}']

    @functools.cached_property
    def base_config(self) -> konfig.ConfigDict:
        """The config that all trials share.

        Raises:
          ConfigError: If something in it is wrong.
        """
        return self._load(())

    def _load(self, overrides: Sequence[konfig.Override]) -> konfig.ConfigDict:
        shared = konfig.parse_overrides(list(self.flags))
        return workdirs.load_config_file(
            self.cfg, [*shared, *overrides], trusted=self.trust
        )

    @functools.cached_property
    def saved(self) -> _study_file.SavedStudy:
        """What is written of it; the metric and its direction are known then.

        Raises:
          StudyError: If nothing says what trials are compared by.
          MetricError: If the runs will not measure that.
        """
        metric, mode = metric_names.chosen_metric(
            self.base_config, self.metric, self.mode
        )
        if metric is None:
            raise StudyError(
                "Nothing says what trials are compared by: give a metric, such as "
                f"`--metric={self._example_of_metric()}`."
            )
        return _study_file.SavedStudy(
            space=self._space.as_dict(),
            metric=metric,
            mode=metric_names.check(self.base_config, metric, mode),
            num_trials=self.num_trials,
            sampler=self.sampler,
            pruner=self.pruner,
            seed=self.seed,
        )

    def _example_of_metric(self) -> str:
        for collection, names in metric_names.of_config(self.base_config).items():
            if names:
                return f"{collection}.{names[-1].rpartition('/')[2]}"
        return "eval.accuracy"

    def check(self) -> tuple[str, str]:
        """Makes sure that it can be run; starts and writes nothing.

        Returns:
          What trials are compared by, and whether its largest value is the best, `'max'`,
          or the smallest, `'min'`.

        Raises:
          UserError: If not; says what is wrong.
        """
        _optuna.make("samplers", self.sampler, seed=0)
        _optuna.make("pruners", self.pruner)
        self._space.check(self.cfg, self.flags, self.trust)
        metric_names.check_schedule(
            self.base_config, self.saved.metric, differing=self.paths
        )
        collection = self.saved.metric.partition(".")[0]
        if collection == "train" and self.pruner != "none":
            raise StudyError(
                f"Trials end early by what an evaluator measures, and {self.saved.metric!r} "
                "is measured in training: name another `--metric`, or no `--pruner`."
            )
        _study_file.check_same(self.workdir, self.saved)
        return self.saved.metric, self.saved.mode

    def begin(self) -> None:
        """Writes what it is; for the process that owns the folder."""
        _study_file.check_same(self.workdir, self.saved)
        _study_file.write(self.workdir, self.saved)

    def propose(self) -> dict[str, Any] | None:
        """Returns path -> value of another trial; `None` if there is to be none.

        Raises:
          StudyError: If all trials fail.
          MetricError: If trials do not measure the metric.
        """
        saved = sweep_file.read(self.workdir)
        if saved is not None and len(saved.trials) >= self.num_trials:
            return None
        trials = self.trials()
        failed = [t for t in trials if t.state == "failed"]
        if len(failed) >= _MAX_FAILURES and not any(t.best is not None for t in trials):
            raise StudyError(
                f"{len(failed)} trials have failed and none has measured "
                f"{self.saved.metric}: no more are started. The first: "
                f"{failed[0].name}: {failed[0].message}"
            )
        if not trials:
            first = self._space.of_config(self.base_config)
            if first is not None:
                return first
        return _optuna.propose(
            trials, self._space, self.saved.mode, sampler=self.sampler, seed=self.seed
        )

    @functools.cached_property
    def _reader(self) -> _history.Reader:
        return _history.Reader(self.workdir, self.saved.metric, self.saved.mode)

    def trials(self) -> list[StudyTrial]:
        """Returns the trials so far, in the order in which they were proposed."""
        return self._reader.read()

    def write_best_config(self) -> str | None:
        """Writes the config of the best trial as a Python file; returns its path."""
        best = _history.best_of(self.trials(), self.saved.mode)
        if best is None:
            return None
        overrides = [
            konfig.Override(path, text, flag=f"--cfg.{path}={text}")
            for path, text in best.overrides.items()
        ]
        text = konfig.to_python(self._load(overrides))
        title = (
            f'"""{self.cfg}, where {self.saved.metric} is {best.best:.6g}: '
            f'{best.name}."""\n\n'
        )
        path = epath.Path(self.workdir) / BEST_CONFIG_FILE
        shared_files.write_atomically(path, title + text)
        return os.fspath(path)
