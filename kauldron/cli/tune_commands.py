"""The commands of tuning, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

_WORKDIR = Flag("workdir", str, None, "Folder of the study.", "required")

ALL: tuple[Command, ...] = (
    Command(
        "tune",
        "tune:main",
        "find good values of a config, each trial from how those before did",
        "kauldron tune --cfg=examples/digits_classifier.py "
        "--space='aux.num_features=int(8,64)' --metric=eval.accuracy --trials=6 "
        "--workdir=runs/tune",
        flags=(
            _WORKDIR,
            Flag(
                "space",
                tuple,
                None,
                "PATH=VALUES: int(8,64), float(1e-4,1e-1,log), choice(a,b); repeatable.",
                "required",
            ),
            Flag(
                "metric",
                str,
                None,
                "What trials are compared by, such as eval.accuracy.",
                "the checkpointer's",
            ),
            Flag(
                "mode", str, None, "Which value is best: max or min.", "as it is called"
            ),
            Flag("trials", int, 20, "How many trials there are to be.", "20", 1),
            Flag("parallel", int, None, "Trials at a time.", "1", 1),
            Flag(
                "devices_per_trial",
                int,
                None,
                "GPUs that each trial has for itself.",
                "all",
                1,
            ),
            Flag(
                "on",
                str,
                None,
                "Where: local, commands, slurm, or such as Local(parallel=2).",
                "xm_job.executor of the config, or local",
            ),
            Flag(
                "sampler",
                str,
                "tpe",
                "What proposes: tpe, random, gp, bruteforce, or TPESampler(...).",
            ),
            Flag(
                "pruner",
                str,
                "none",
                "What ends trials early: none, median, halving, hyperband, ...",
            ),
            Flag("seed", int, 0, "Seed of what is proposed."),
            Flag("stop_on_failure", bool, False, "Stop all when a trial fails."),
        ),
    ),
    Command(
        "tune ls",
        "tune:ls",
        "how the trials of a study are doing, and which is the best",
        "kauldron tune ls --workdir=runs/tune --json",
        flags=(_WORKDIR, Flag("json", bool, False, "Print JSON.")),
        takes_cfg=False,
    ),
    Command(
        "tune plot",
        "tune:plot",
        "pictures of a study: history, importance, parallel coordinates",
        "kauldron tune plot --workdir=runs/tune --out=runs/tune/plots",
        flags=(
            _WORKDIR,
            Flag("out", str, None, "Folder of the pictures.", "plots, in the study"),
        ),
        takes_cfg=False,
    ),
)
