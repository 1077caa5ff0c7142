"""The commands of jobs: `kauldron launch`, and what looks at what it started."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

_CFG = "--cfg=examples/digits_classifier.py"

ALL = (
    Command(
        "launch",
        "launch:main",
        "start a run over several processes, on this machine or on Slurm",
        f"kauldron launch --on=local --processes=2 {_CFG} --cfg.workdir=runs/two",
        flags=(
            Flag("on", str, None, "local or slurm.", "as cfg.xm_job says, else local"),
            Flag("processes", int, None, "Processes of the run.", "one per node", 1),
            Flag("nodes", int, None, "Machines, with --on=slurm.", "1", 1),
            Flag("gpus_per_node", int, None, "GPUs of each of them.", "0", 0),
            Flag("partition", str, None, "Of Slurm.", "the default one"),
            Flag("time", str, None, "Limit, in minutes or as 1-12:00:00.", "60"),
            Flag(
                "max_restarts",
                int,
                20,
                "How often it is started again after it was preempted.",
                lower_bound=0,
            ),
            Flag("detach", bool, None, "Leave it to itself.", "true on Slurm"),
        ),
        takes_patches=True,
    ),
    Command(
        "launch logs",
        "launch:logs",
        "print what the processes of a launched run have written",
        "kauldron launch logs -f --workdir=runs/two",
        flags=(
            Flag(
                "follow",
                bool,
                False,
                "Go on until the run ends; also -f.",
                short_name="f",
            ),
            Flag("process", int, None, "Only of this process.", "all", 0),
        ),
        positional=("WORKDIR",),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "launch ps",
        "launch:ps",
        "list the launched runs: where they are, and how far",
        "kauldron launch ps",
        flags=(Flag("json", bool, False, "Print JSON."),),
        takes_cfg=False,
    ),
    Command(
        "launch cancel",
        "launch:cancel",
        "let a launched run save and end, or take it out of the queue",
        "kauldron launch cancel --workdir=runs/two",
        positional=("WORKDIR",),
        takes_cfg=False,
        takes_workdir=True,
    ),
)
