"""The commands that look at a run, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

_DEVICES = Flag("devices", int, None, "So many instead, simulated.", "those here", 1)
_COMPILE = Flag(
    "compile",
    bool,
    None,
    "Compile the step, for exact numbers; without, estimate.",
    "up to 2048 devices",
)
_JSON = Flag("json", bool, False, "Print JSON.")
_DEPTH = Flag("depth", int, None, "How many names of a path are told apart.", "all", 1)

_CFG = "--cfg=examples/digits_classifier.py"

ALL = (
    Command(
        "run check",
        "run:check",
        "find keys and shapes that don't fit; compile nothing",
        f"kauldron run check {_CFG}",
        takes_patches=True,
    ),
    Command(
        "run eval_shape",
        "run:eval_shape",
        "every key of a step, with dtype and shape",
        f"kauldron run eval_shape {_CFG}",
        takes_patches=True,
    ),
    Command(
        "run graph",
        "run:graph",
        "draw the model, with shapes, as an SVG picture",
        f"kauldron run graph {_CFG} --out=graph.svg",
        flags=(Flag("out", str, None, "An .svg file; - prints it.", "required"),),
        takes_patches=True,
    ),
    Command(
        "run sharding",
        "run:sharding",
        "which device holds what, the memory of a step, and what devices send each other",
        f"kauldron run sharding {_CFG}",
        flags=(
            _DEVICES,
            _COMPILE._replace(default=True),
            Flag(
                "link_gb_per_s",
                str,
                None,
                "What a device sends in a second: 400, or data=25,tensor=400.",
                "none, and no times",
            ),
            Flag("out", str, None, "An .svg file: which device holds what.", "none"),
            _JSON,
        ),
        takes_patches=True,
    ),
    Command(
        "run estimate_memory",
        "run:estimate_memory",
        "the memory of a training step on each device, and whether it fits",
        f"kauldron run estimate_memory {_CFG} --devices=64 --json",
        flags=(
            _DEVICES,
            _COMPILE,
            Flag(
                "device_gb",
                float,
                None,
                "Memory of one device in GB (10**9 bytes): tells whether the step fits.",
                "not compared",
                lower_bound=0,
            ),
            _JSON,
        ),
        takes_patches=True,
    ),
    Command(
        "run replay",
        "run:replay",
        "repeat a step that met a NaN, and tell where",
        "kauldron run replay --workdir=runs/digits",
        flags=(Flag("step", int, None, "Which step.", "the last one saved"),),
        takes_workdir=True,
    ),
    Command(
        "run repro",
        "repro:main",
        "do a run again, and compare the parameters",
        "kauldron run repro --workdir=runs/digits --out=runs/digits_again",
        flags=(Flag("out", str, None, "The new workdir.", "<workdir>_repro"),),
        takes_workdir=True,
    ),
    Command(
        "run params",
        "run_looks:params",
        "the parameters: counts, bytes, shapes, sharding",
        f"kauldron run params {_CFG}",
        flags=(_DEPTH, _JSON),
        takes_patches=True,
    ),
    Command(
        "run flops",
        "run_looks:flops",
        "the floating-point operations of a forward pass, module by module",
        f"kauldron run flops {_CFG} --depth=1",
        flags=(_DEPTH, _JSON),
        takes_patches=True,
    ),
    Command(
        "run explain_key",
        "run_looks:explain_key",
        "what a key is: where it comes from, its shape, who reads it",
        f"kauldron run explain_key preds.logits {_CFG}",
        flags=(_JSON,),
        positional=("KEY",),
        takes_patches=True,
    ),
    Command(
        "run profile",
        "run_looks:profile",
        "where the time of a training step goes, by module and operation",
        f"kauldron run profile {_CFG} --depth=2",
        flags=(
            _DEPTH,
            Flag("steps", int, 5, "Steps that are measured.", lower_bound=1),
            Flag(
                "out",
                str,
                None,
                "A new folder for a trace of training, for XProf and Perfetto.",
                "none: tables are printed",
            ),
            _JSON,
        ),
        takes_patches=True,
    ),
)
