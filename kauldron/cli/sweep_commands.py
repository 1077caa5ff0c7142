"""The commands on sweeps, as part of the table of commands."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

_METRIC = (
    Flag(
        "metric",
        str,
        None,
        "What runs are compared by, such as eval.accuracy.",
        "the checkpointer's, or what an evaluator measures",
    ),
    Flag("mode", str, None, "Which value is the best: max or min.", "as it is called"),
)

ALL = (
    Command(
        "sweep",
        "sweep:main",
        "train many runs of a config, a few at a time",
        "kauldron sweep --cfg=examples/digits_classifier.py "
        "--cfg.aux.num_features='{8,16,32}' "
        "--workdir=runs/sweep --parallel=2",
        flags=(
            Flag("workdir", str, None, "Folder of the sweep.", "required"),
            Flag("parallel", int, None, "Runs at a time.", "1", 1),
            Flag(
                "devices_per_trial",
                int,
                None,
                "GPUs that each run has for itself.",
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
                "sweep",
                str,
                None,
                "Names of sweep functions of the config; * for all.",
                "default, unless there are other values",
            ),
            Flag("trials", str, None, "A JSON file of {path: value}.", "none"),
            Flag(
                "num_samples",
                int,
                None,
                "How often random values are drawn.",
                "none",
                1,
            ),
            Flag("sample_seed", int, 0, "Seed of random values."),
            Flag("dry_run", bool, False, "List the runs, and start nothing."),
            Flag("stop_on_failure", bool, False, "Stop all when a run fails."),
            *_METRIC,
        ),
    ),
    Command(
        "sweep ls",
        "sweep:ls",
        "how the runs of a sweep are doing, and which is the best",
        "kauldron sweep ls --workdir=runs/sweep --json",
        flags=(
            Flag("workdir", str, None, "Folder of the sweep.", "required"),
            Flag("json", bool, False, "Print JSON."),
            *_METRIC,
        ),
        takes_cfg=False,
    ),
)
