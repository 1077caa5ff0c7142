"""The launch description of a config, `cfg.xm_job = kxm.Job(...)`, as a `Job`.

Only what a config says itself counts: the defaults of `kxm.Job` describe another system.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from kauldron import konfig
from kauldron._base import errors
from kauldron.launch import _backend, _local
from kauldron.launch.jobs import _job
from kauldron.launch.slurm import _slurm

# Name in `requirements` -> field of `Slurm`.
_FIELD_OF = {
    **{field.name: field.name for field in dataclasses.fields(_slurm.Slurm)},
    "replicas": "nodes",
    "cpu": "cpus_per_node",
    "cpus": "cpus_per_node",
    "ram": "mem_gb",
    "location": "partition",
}
_PROCESSES = "processes"
# What other systems need, and has no meaning here.
_IGNORED = (
    "target",
    "priority",
    "cell",
    "citc_source",
    "use_interpreter",
    "interpreter_info",
    "constraints",
    "add_jax_flags",
    "bazel_args",
    "files",
)
_OBEYED = ("platform", "requirements", "executor", "args", "env_vars", "debug")
_GIB = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchDescription:
    """What a config says about how its run is started.

    Attributes:
      slurm: Where, if the config says so; else `None`.
      resources: Fields of `Slurm`, by name.
      num_processes: Of the run.
      args: Arguments of `python -m kauldron.main`.
      env: Environment variables.
      batch_sizes: Field of the config -> rows of a batch, which processes share.
    """

    slurm: _slurm.Slurm | None = None
    resources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_processes: int | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    batch_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def to_job(
        self,
        *,
        args: tuple[str, ...],
        workdir: str,
        on: str | None,
        num_processes: int | None,
        max_restarts: int,
        resources: Mapping[str, Any],
    ) -> _job.Job:
        """Returns the job; what is asked for here goes before what the config says.

        Args:
          args: Further arguments of `python -m kauldron.main`.
          workdir: Directory of the run.
          on: `'local'`, `'slurm'`, or `None`: as the config says, else `'local'`.
          num_processes: Of the run, if it is said here.
          max_restarts: See `Job`.
          resources: Fields of `Slurm` that are said here.

        Raises:
          LaunchError: If `on` is something else, or what is asked for makes no sense.
        """
        on = on or ("local" if self.slurm is None else "slurm")
        if on not in ("local", "slurm"):
            hint = errors.did_you_mean(on, ("local", "slurm"))
            raise _backend.LaunchError(f"`--on` is local or slurm, got {on!r}.{hint}")
        asked = {**self.resources, **resources}
        slurm = None
        if on == "slurm":
            slurm = dataclasses.replace(self.slurm or _slurm.Slurm(), **asked)
        elif unmet := [n for n in resources if n not in ("gpus_per_node", "nodes")]:
            raise _backend.LaunchError(
                f"`--{unmet[0]}` is for `--on=slurm`; this is `--on=local`."
            )
        elif resources.get("nodes", 1) > 1:
            raise _backend.LaunchError(
                f"This machine is one node; `--nodes={resources['nodes']}` are asked for. "
                "Use `--processes=...` for several processes here, or `--on=slurm`."
            )
        job = _job.Job(
            args=(*self.args, *args),
            workdir=workdir,
            slurm=slurm,
            num_processes=num_processes or self.num_processes,
            gpus=asked.get("gpus_per_node", 0) if slurm is None else 0,
            max_restarts=max_restarts,
            env=self.env,
        )
        self._check_batches(job.task.num_processes)
        return job

    def _check_batches(self, num_processes: int) -> None:
        for name, size in self.batch_sizes.items():
            if size % num_processes:
                below = size // num_processes * num_processes
                sizes = [n for n in (below, below + num_processes) if n]
                raise _backend.LaunchError(
                    f"`cfg.{name}` must divide evenly over the processes: got {size} for "
                    f"{num_processes} processes. Use {' or '.join(map(str, sizes))}, or "
                    "another number of processes."
                )


def describe_launch(cfg: konfig.ConfigDict) -> LaunchDescription:
    """Returns what a config says about how it is started, in `cfg.xm_job`.

    `platform` (`'h100=8'`) gives the GPUs of a node, `requirements` the nodes, processes
    and fields of `Slurm`, `executor` may be a `kd.launch.Slurm(...)`; `args`, `env_vars`
    and `debug` become arguments and variables of the run.

    Raises:
      LaunchError: If it says something that cannot be obeyed here.
    """
    job = cfg.get("xm_job")
    said = _fields(job) if job is not None else {}
    unknown = [n for n in said if n not in (*_OBEYED, *_IGNORED)]
    if unknown:
        hint = errors.did_you_mean(unknown[0], (*_OBEYED, *_IGNORED))
        raise _backend.LaunchError(f"`cfg.xm_job` has no {unknown[0]!r}.{hint}")
    resources = _of_platform(said.get("platform"))
    required = _of_requirements(said.get("requirements"))
    processes = required.pop(_PROCESSES, None)
    env = {k: str(v) for k, v in _fields(said.get("env_vars")).items()}
    env |= _env_of_debug(_fields(said.get("debug")), cfg.get("workdir"))
    return LaunchDescription(
        slurm=_of_executor(said.get("executor")),
        resources={**resources, **required},
        num_processes=processes,
        args=_of_args(_fields(said.get("args")), _fields(said.get("debug"))),
        env=env,
        batch_sizes=_batch_sizes(cfg),
    )


def _batch_sizes(cfg: konfig.ConfigDict) -> dict[str, int]:
    found = {}
    for name in ("train_ds", "eval_ds"):
        size = _fields(cfg.get(name)).get("batch_size")
        if isinstance(size, int):
            found[f"{name}.batch_size"] = size
    return found


def _fields(node: Any) -> dict[str, Any]:
    """Returns what a node says; empty if there is none."""
    items = node.items() if isinstance(node, Mapping | konfig.ConfigDict) else ()
    return {k: v for k, v in items if not k.startswith("__")}


def _of_platform(platform: str | None) -> dict[str, Any]:
    if platform is None or platform in ("cpu", "local"):
        return {}
    match = re.fullmatch(r"(?P<type>\w+)=(?P<num>\d+)", platform)
    if match is None:
        raise _backend.LaunchError(
            f"`cfg.xm_job.platform` is GPUs of a node, such as 'h100=8', or 'cpu'; got "
            f"{platform!r}. Jobs are started on this machine and on Slurm, not on TPUs."
        )
    fields: dict[str, Any] = {"gpus_per_node": int(match["num"])}
    if match["type"] != "gpu":
        fields["gpu_type"] = match["type"]
    return fields


def _of_requirements(requirements: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _fields(requirements).items():
        if value is None:
            continue
        if name == _PROCESSES:
            found[name] = int(value)
        elif name in _FIELD_OF:
            is_bytes = name == "ram"
            found[_FIELD_OF[name]] = value / _GIB if is_bytes else value
        elif isinstance(value, int) and not errors.nearest(name, _FIELD_OF, n=1):
            found |= _of_platform(f"{name}={value}")  # xm.JobRequirements(h100=8)
        else:
            hint = errors.did_you_mean(name, (*_FIELD_OF, _PROCESSES))
            raise _backend.LaunchError(
                f"`cfg.xm_job.requirements` has no {name!r}.{hint}"
            )
    return found


def _of_executor(executor: Any) -> _slurm.Slurm | None:
    if executor is None:
        return None
    found = konfig.resolve(executor) if isinstance(executor, Mapping) else executor
    if isinstance(found, _local.Local):
        return None
    if not isinstance(found, _slurm.Slurm):
        raise _backend.LaunchError(
            f"`cfg.xm_job.executor` is a `kd.launch.Slurm(...)` or a `kd.launch.Local(...)`, got {found!r}."
        )
    return found


def _of_args(args: Mapping[str, Any], debug: Mapping[str, Any]) -> tuple[str, ...]:
    found = [f"--{name}={_to_flag(value)}" for name, value in args.items()]
    if debug.get("catch_post_mortem"):
        found.append("--catch_post_mortem")
    return tuple(found)


def _to_flag(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _env_of_debug(debug: Mapping[str, Any], workdir: Any) -> dict[str, str]:
    env = {}
    if debug.get("dump_hlo"):
        folder = os.path.join(os.path.abspath(str(workdir)), "hlo")
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder}"
        env["XLA_FLAGS"] = flags.strip()
    if debug.get("jax_log_compiles"):
        env["JAX_LOG_COMPILES"] = "1"
    return env
