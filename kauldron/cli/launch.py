"""`kauldron launch`: one run over several processes, here or on Slurm."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron import konfig, launch
from kauldron._base import text_tables
from kauldron.cli import _flags, command_kinds, command_runner, command_table

_RESOURCES = ("nodes", "gpus_per_node", "partition", "time")


def main(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """Starts the run of a config, or adopts the one that runs in its workdir.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.

    Returns:
      The exit code of the run, see `kauldron train`; 0 with `--detach`.
    """
    exit_code = command_runner.EXIT_DONE

    def work(command: _flags.CommandLine) -> None:
        nonlocal exit_code
        job = _job(command, argv)
        is_detached = command["detach"]
        if is_detached is None:
            is_detached = job.slurm is not None
        if is_detached:
            print(_describe_started(launch.start_job(job)))
        else:
            exit_code = launch.run_job(job, show=_show)

    return _flags.run("launch", work, argv, flag_values) or exit_code


def _show(line: str) -> None:
    print(line, flush=True)


def _job(command: _flags.CommandLine, argv: Sequence[str]) -> launch.Job:
    cfg = command.cfg
    workdir = cfg.get("workdir")
    if workdir is None:
        raise _flags.UsageError(
            "Say where the run is kept: `kauldron launch ... --cfg.workdir=runs/two`. All "
            "its machines must see this folder."
        )
    problems = [p for p in konfig.check(cfg) if p.is_error]
    if problems:
        lines = "\n".join(konfig.to_lines(problems))
        raise _flags.UsageError(f"The config cannot be resolved:\n{lines}")
    resources = {n: command[n] for n in _RESOURCES if command[n] is not None}
    return launch.describe_launch(cfg).to_job(
        args=_train_args(argv),
        workdir=str(workdir),
        on=command["on"],
        num_processes=command["processes"],
        max_restarts=command["max_restarts"],
        resources=resources,
    )


def _train_args(argv: Sequence[str]) -> tuple[str, ...]:
    """Returns the arguments that are for the training: all but those of this command."""
    own = {flag.name: flag for flag in command_table.COMMANDS["launch"].flags}
    kept, rest = [], list(argv[1:])
    while rest:
        arg = rest.pop(0)
        name, equals, _ = arg.lstrip("-").partition("=")
        flag: command_kinds.Flag | None = own.get(name)
        if flag is None and name.removeprefix("no") in own:
            continue  # --nodetach
        if flag is None:
            kept.append(arg)
        elif not equals and flag.kind is not bool:
            rest = rest[1:]  # --on slurm
    return tuple(kept)


def _describe_started(status: launch.JobStatus) -> str:
    job = f" as job {status.job_id} of Slurm" if status.on == "slurm" else ""
    return (
        f"The run is {status.state}{job}. Its output:\n"
        f"  kauldron launch logs -f --workdir={status.workdir}\n"
        f"To let it save and end:\n"
        f"  kauldron launch cancel --workdir={status.workdir}"
    )


def logs(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron launch logs [-f] WORKDIR`: the output of the processes of a run."""

    def work(command: _flags.CommandLine) -> None:
        for line in launch.job_logs(
            command.run, process=command["process"], follow=command["follow"]
        ):
            _show(line)

    return _flags.run("launch logs", work, argv, flag_values)


def ps(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron launch ps`: the jobs of this user, and where they are."""

    def work(command: _flags.CommandLine) -> None:
        jobs = launch.list_jobs()
        if command["json"]:
            print(json.dumps([dataclasses.asdict(job) for job in jobs], indent=2))
        elif not jobs:
            print("No jobs: `kauldron launch` starts one.")
        else:
            print(text_tables.aligned([_HEAD, *map(_row, jobs)], right=(3, 4)))

    return _flags.run("launch ps", work, argv, flag_values)


_HEAD = ("workdir", "on", "state", "processes", "restarts", "step", "reason")


def _row(job: launch.JobStatus) -> tuple[str, ...]:
    on = f"slurm {job.job_id}" if job.job_id else job.on
    step: Any = "" if job.step is None else f"{job.step} of {job.last_step}"
    counts = (str(job.num_processes), str(job.num_restarts))
    return (job.workdir, on, job.state, *counts, step, job.reason)


def cancel(argv: Sequence[str], *, flag_values: flags.FlagValues | None = None) -> int:
    """`kauldron launch cancel WORKDIR`: lets a run save and end."""

    def work(command: _flags.CommandLine) -> None:
        status = launch.cancel_job(command.run)
        if status.is_over:
            print(f"The run is over already: {status.state}.")
        elif status.state == "queued":
            print("The run is taken out of the queue.")
        else:
            print("The run saves and ends; `kauldron launch` continues it.")

    return _flags.run("launch cancel", work, argv, flag_values)
