"""Launch descriptions: `from kauldron import kxm`.

Configs mention them (`cfg.xm_job = kxm.Job(...)`) and keep them; they are plain and never
resolved. `kauldron launch --cfg=...` obeys the `xm_job` of a config, see
`kd.launch.describe_launch`; `kauldron sweep` starts the runs of a sweep.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, cast

from kauldron._base import errors, public


class LaunchError(errors.UserError, RuntimeError):
    """Something cannot be started as it is described."""


class _Description:
    """Keeps the arguments it was made with, as attributes; the others have defaults."""

    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, defaults: Mapping[str, Any] | None = None) -> None:
        if defaults is not None:
            cls._defaults = defaults

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(f"{type(self).__name__} takes keyword arguments only.")
        self._given = tuple(kwargs)
        self.__dict__.update(copy.deepcopy(dict(self._defaults)))
        self.__dict__.update(kwargs)

    def __getattr__(self, name: str) -> Any:
        hint = errors.did_you_mean(name, self.__dict__)
        raise AttributeError(
            f"`kxm.{type(self).__name__}` has no {name!r}.{hint}", name=name, obj=self
        )

    def replace(self, **changes: Any) -> Any:
        """Returns a copy with some arguments changed."""
        given = {name: getattr(self, name) for name in self._given}
        return type(self)(**{**given, **changes})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Description) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        raise TypeError(f"kxm.{type(self).__name__} has no hash: it can be changed.")

    def _values(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_given"}

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._given)
        return f"kxm.{type(self).__name__}({inside})"


class Debug(
    _Description,
    defaults={
        "dump_hlo": False,
        "jax_log_compiles": True,
        "flax_profile": True,
        "pytype": False,
        "catch_post_mortem": False,
        "xprof_port": False,
        "g3pdb_port": False,
    },
):
    """What to record while a job runs."""


class InterpreterInfo(
    _Description, defaults={"script_path": None, "interpreter_path": None}
):
    """Interpreter of a job."""


class Job(
    _Description,
    defaults={
        "target": "",
        "priority": 200,
        "platform": None,
        "cell": None,
        "citc_source": None,
        "use_interpreter": False,
        "interpreter_info": InterpreterInfo(),
        "constraints": [],
        "requirements": None,
        "executor": None,
        "args": {},
        "env_vars": {},
        "files": {},
        "add_jax_flags": True,
        "bazel_args": [],
        "debug": Debug(),
    },
):
    """One program to start: resources, arguments, environment.

    `platform` is such as `'a100=1'`, `args` and `env_vars` are by name, `files` too.
    `kauldron launch` obeys platform, requirements, args, env_vars and debug, and an
    `executor` such as `kd.launch.Slurm(...)`.
    """


class MLPython(_Description, defaults={"target": "", "args": {}, "env_vars": {}}):
    """A Python program with the packages that it needs."""


class SubdirFormat(
    _Description, defaults={"xp_dirname": "{xid}", "wu_dirname": "{wid}"}
):
    """Names of the folders of an experiment and of its runs."""


class DirectoryBuilder(
    _Description, defaults={"root_dir": None, "subdir_format": SubdirFormat()}
):
    """Where the folders of an experiment are."""


class Orchestrator(_Description):
    """In which order jobs are started."""


class ConfigProvider(_Description, defaults={"module": None, "overrides": {}}):
    """Where the config of an experiment comes from: a module with `get_config()`."""


class JobsProvider(_Description):
    """Base of what makes jobs of a config."""

    @property
    def jobs(self) -> dict[str, Job]:
        """Name -> job."""
        return {}


class KauldronJobs(JobsProvider, defaults={"config": None}):
    """The jobs of a config: one that trains, and one per group of evaluators.

    `config` is the config (not resolved): the training is its `xm_job`, and evaluators
    that run beside it are started with their names in `--eval_names`.
    """

    @property
    def jobs(self) -> dict[str, Any]:
        cfg = self.config
        if cfg is None:
            raise LaunchError("Which jobs? Write `kxm.KauldronJobs(config=cfg)`.")
        jobs: dict[str, Any] = {"train": cfg.get("xm_job") or Job()}
        groups: dict[str, list[str]] = {}
        for name, evaluator in (cfg.get("evals") or {}).items():
            run = evaluator.get("run") or {}
            if "Standalone" in str(run.get("__qualname__", "")):
                groups.setdefault(run.get("job_group") or name, []).append(name)
        for group, names in groups.items():
            jobs[group] = Job(args={"eval_names": ",".join(names)})
        return jobs


class SweepItem(_Description, defaults={"job_kwargs": {}, "xm_ui_kwargs": {}}):
    """One run of a sweep: what changes in its jobs, and what is shown of it."""


class SweepInfo(_Description):
    """Base of sweeps: iterates over `SweepItem`s, and has a length."""

    def __iter__(self) -> Iterator[SweepItem]:
        for overrides in self._overrides():
            shown = {path: str(value) for path, value in overrides.items()}
            yield SweepItem(job_kwargs=dict(overrides), xm_ui_kwargs=shown)

    def __len__(self) -> int:
        return len(list(self._overrides()))

    def _overrides(self) -> Iterable[Mapping[str, Any]]:
        return [{}]


class NoSweep(SweepInfo):
    """A single run, nothing changed."""


class SimpleSweep(SweepInfo):
    """A sweep that is given as a list of `{path: value}`, or as a function of none."""

    def __init__(
        self,
        sweep: Iterable[Mapping[str, Any]] | Callable[[], Any] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(sweep=sweep, **kwargs)

    def _overrides(self) -> Iterable[Mapping[str, Any]]:
        sweep: Any = self.sweep
        return list(cast(Any, sweep)() if callable(sweep) else sweep)


class KauldronSweep(SweepInfo, defaults={"source": None, "names": True}):
    """The sweep of a config file, see `konfig.expand_sweeps`.

    `source` is the file or the module; `names` which sweeps, `True` for the default one.
    """

    def _overrides(self) -> Iterable[Mapping[str, Any]]:
        from kauldron import konfig

        if self.source is None:
            raise LaunchError(
                "Whose sweep? Write `kxm.KauldronSweep(source='my_config.py')`."
            )
        return konfig.expand_sweeps(self.source, self.names)


class SweepFromCfg(KauldronSweep):
    """The sweep that the config file of the command line defines."""


class Experiment(
    _Description,
    defaults={
        "name": None,
        "tags": [],
        "note": "",
        "jobs": {},
        "jobs_provider": JobsProvider(),
        "root_dir": None,
        "subdir_format": SubdirFormat(),
        "sweep": None,
        "sweep_info": NoSweep(),
        "orchestrator": Orchestrator(),
        "cfg_provider": ConfigProvider(),
        "importance": None,
        "execution_settings": {},
        "attribution_urls": [],
        "emoji_tags": [],
        "aux": {},
        "xid": None,
    },
):
    """A group of jobs, for instance of a sweep."""

    def launch(self) -> None:
        """Always raises `LaunchError`."""
        raise LaunchError(
            "An experiment is not launched as a whole: there is no XManager. `kauldron "
            "launch --cfg=... --cfg.workdir=...` starts a run as the `xm_job` of its "
            "config says, `kauldron sweep --cfg=... --workdir=...` the runs of a sweep."
        )


class _Placeholder:
    """A folder that a program which starts runs fills in; `/` appends to it."""

    def __init__(self, name: str, parts: tuple[str, ...] = ()) -> None:
        self._name, self._parts = name, parts

    def __truediv__(self, part: str | os.PathLike[str]) -> _Placeholder:
        return _Placeholder(self._name, (*self._parts, os.fspath(part)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Placeholder) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return "/".join((f"{{{self._name}}}", *self._parts))

    def __repr__(self) -> str:
        return f"kxm.{self._name.upper()}_PROXY" + "".join(
            f" / {part!r}" for part in self._parts
        )


XP_DIR_PROXY = _Placeholder("xp_dir")
"""Folder of the experiment."""
WU_DIR_PROXY = _Placeholder("wu_dir")
"""Folder of the run."""
CFG_FLAG_VALUES = _Placeholder("cfg_flag_values")
"""The flags `--cfg` and `--cfg.*` of the command line."""


def file_path(path: str | os.PathLike[str]) -> str:
    """Returns the path of a file that goes with a job, for `files={name: path}`."""
    return os.fspath(path)


__all__ = [
    "CFG_FLAG_VALUES",
    "ConfigProvider",
    "Debug",
    "DirectoryBuilder",
    "Experiment",
    "InterpreterInfo",
    "Job",
    "JobsProvider",
    "KauldronJobs",
    "KauldronSweep",
    "LaunchError",
    "MLPython",
    "NoSweep",
    "Orchestrator",
    "SimpleSweep",
    "SubdirFormat",
    "SweepFromCfg",
    "SweepInfo",
    "SweepItem",
    "WU_DIR_PROXY",
    "XP_DIR_PROXY",
    "file_path",
]

__dir__ = public.publish(__name__)
