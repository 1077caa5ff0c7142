"""A sweep as the command line describes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from kauldron import konfig
from kauldron.launch import _backend_choice
from kauldron.launch._backend import Backend, LaunchError
from kauldron.launch.sweeps import _sources, _sweep


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What is asked for on a command line.

    Attributes:
      cfg: Path of the config file.
      workdir: Folder of the sweep.
      overrides: `--cfg.*`, some with several values.
      sweep: Names of sweep functions of the config file.
      trials: Path of a file of trials.
      num_samples: How often random values are drawn.
      sample_seed: Seed of random values.
      trust: Packages that a `config.json` from elsewhere may name.
    """

    cfg: str
    workdir: str | None
    overrides: Sequence[konfig.Override]
    sweep: str | None = None
    trials: str | None = None
    num_samples: int | None = None
    sample_seed: int = 0
    trust: Sequence[str] = ()

    def to_sweep(self) -> _sweep.Sweep:
        """Returns the sweep.

        Raises:
          LaunchError: If nothing says what is to differ.
          ConfigError: If a value, or a function of the config, is wrong.
        """
        if self.workdir is None:
            raise LaunchError(
                "No workdir: say where the runs go, with `--workdir=runs/sweep`."
            )
        shared, choices = konfig.expand_choices(
            self.overrides, num_samples=self.num_samples, seed=self.sample_seed
        )
        functions = self.sweep
        if functions is None and choices == [{}] and self.trials is None:
            functions = self._default_function()
        trials = _sources.combine(
            _sources.read_functions(self.cfg, functions),
            _sources.read_file(self.trials),
            choices,
            given=[o.path for o in shared],
        )
        return _sweep.Sweep(
            cfg=self.cfg,
            workdir=self.workdir,
            trials=trials,
            flags=[o.flag for o in shared],
            trust=self.trust,
        )

    def _default_function(self) -> str:
        file = self.cfg.partition(":")[0]
        found = konfig.find_sweeps(self.cfg) if file.endswith(".py") else {}
        if "default" in found:
            return "default"
        names = f" It has {', '.join(found)}: choose with `--sweep=`." if found else ""
        raise LaunchError(
            "Nothing differs between the runs. Give a field several values, such as "
            "`--cfg.seed='{1,2,3}'`, define `sweep()` in the config file, or name a "
            f"file of trials, `--trials=trials.json`.{names}"
        )


def choose_backend(on: str | None, cfg: konfig.ConfigDict, **fields: Any) -> Backend:
    """Returns what runs the trials.

    Args:
      on: As given; `None` leaves it to the config.
      cfg: The config, whose `xm_job` may have an `executor`: `kd.launch.Local(...)`.
      **fields: Of the backend; those that are `None` are left to it.

    Raises:
      LaunchError: If there is no such backend.
    """
    if on is not None:
        return _backend_choice.from_text(on, **fields)
    executor = (cfg.get("xm_job") or {}).get("executor")
    if not isinstance(executor, konfig.ConfigDict):
        return _backend_choice.by_name("local", **fields)
    return _backend_choice.from_node(executor, **fields)
