"""The commands of apps, of the command table."""

from __future__ import annotations

from kauldron.cli import apps_server_commands
from kauldron.cli.apps_server_commands import DEVICE, HOST
from kauldron.cli.command_kinds import TRUST, Command, Flag

_JSON = Flag("json", bool, False, "Print JSON.")
_TRUST_CODE = Flag(
    "trust_code", bool, False, "Run code that comes with the app, or that it names."
)
_OUT = Flag("out", str, None, "A new or empty folder for the results.", "required")
_PROGRESS = Flag(
    "progress", str, "auto", "auto, none, or lines: a JSON object per line on stdout."
)
_INPUT = Flag(
    "input",
    tuple,
    [],
    "A file or a folder; NAME=FILE of an input that is not the first. Given several times.",
    "required",
)
_REFERENCE = Flag("reference", tuple, [], "What is right, as --input.", "none")
_MASK = Flag("mask", tuple, [], "Where an evaluation counts.", "everywhere")
_MEMBERS = (
    Flag("ensemble", int, None, "How many members predict.", "all", 1),
    Flag("member", tuple, [], "A member by its name. Given several times.", "all"),
    Flag("tta", int, 0, "Augmented copies that are predicted, too.", "", 0),
    Flag("mc", int, 0, "Draws of dropout that are predicted.", "", 0),
)
_SHARED = (*_MEMBERS, _OUT, _PROGRESS, _JSON, _TRUST_CODE, *HOST, DEVICE)
_APP = ("APP",)

ALL: tuple[Command, ...] = (
    Command(
        "apps bundle",
        "apps:bundle",
        "make an app of a run",
        "kauldron apps bundle --workdir=runs/digits --out=digits_app",
        flags=(
            Flag("out", str, None, "The app: a directory, or a .zip.", "required"),
            Flag("step", str, None, "A number, latest or best.", "latest"),
            Flag(
                "member",
                tuple,
                [],
                "A further checkpoint: a step, or runs/fold_1@best. Given several times.",
                "none",
            ),
            Flag("eval_name", str, None, "Which evaluator predicts.", "the only one"),
            Flag("name", str, None, "Of the app.", "that of the folder"),
            Flag("version", str, "1.0.0", "Of the app."),
            Flag("description", str, None, "A few sentences.", "none"),
            Flag("licence", str, None, "Of the weights.", "none"),
            Flag("task", str, None, "In two or three words.", "none"),
            Flag(
                "labels",
                list,
                [],
                "Names of classes, 0=background,1=liver:#aa3333.",
                "those of the data",
            ),
            Flag(
                "allow",
                list,
                None,
                "Globs of paths of the config that a call may set.",
                "what is safe",
            ),
            Flag(
                "data_paths",
                list,
                None,
                "Where in the config the folder of a fine-tuning's data goes.",
                "train_ds.path,eval_ds.path",
            ),
            Flag("max_tta", int, None, "The most a call may ask for.", "all", 0),
            Flag("max_mc", int, 32, "The most a call may ask for.", "", 0),
            Flag("code", list, [], "Packages whose sources go along.", "none"),
            Flag("overwrite", bool, False, "Replace an app that is there."),
            TRUST,
        ),
        takes_cfg=False,
        takes_workdir=True,
    ),
    Command(
        "apps inspect",
        "apps:inspect",
        "what an app takes, gives and can do; whether it is whole",
        "kauldron apps inspect digits_app --json",
        flags=(_JSON, *HOST),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps infer",
        "apps:infer",
        "predict files",
        "kauldron apps infer digits_app --input=digit.png --out=out",
        flags=(_INPUT, *_SHARED),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps evaluate",
        "apps:evaluate",
        "predict files, and compare with what is right",
        "kauldron apps evaluate digits_app --input=digits "
        "--reference=label=labels.csv --out=out",
        flags=(_INPUT, _REFERENCE, _MASK, *_SHARED),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps uncertainty",
        "apps:uncertainty",
        "how far members, copies and draws of dropout are apart",
        "kauldron apps uncertainty digits_app --input=digit.png --mc=16 --out=out",
        flags=(_INPUT, *_SHARED),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps pipeline",
        "apps:pipeline",
        "infer, evaluate if there are references, and uncertainty if asked",
        "kauldron apps pipeline digits_app --input=digits "
        "--reference=label=labels.csv --with_uncertainty --mc=16 --out=out",
        flags=(
            _INPUT,
            _REFERENCE,
            _MASK,
            Flag("with_uncertainty", bool, False, "Also tell the uncertainty."),
            *_SHARED,
        ),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps fine-tune",
        "apps:fine_tune",
        "train on from the weights of an app; the result is a new app",
        "kauldron apps fine-tune digits_app --steps=100 --name=my_digits --out=out "
        "--trust_code",
        flags=(
            Flag("data", str, None, "Folder of the data.", "as in its config"),
            Flag("steps", int, None, "How many updates.", "required", 1),
            Flag("learning_rate", float, None, "Constant.", "that of the run"),
            Flag("name", str, None, "Of the new app.", "that of the app"),
            *(_MEMBERS[1:2]),
            _OUT,
            _PROGRESS,
            _JSON,
            _TRUST_CODE,
            *HOST,
            DEVICE,
        ),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps ls",
        "apps:ls",
        "the apps that are installed, those in a folder, or those of a server",
        "kauldron apps ls --json",
        flags=(_JSON, *HOST),
        positional=("[FOLDER]",),
        takes_cfg=False,
    ),
    Command(
        "apps install",
        "apps:install",
        "copy an app to where it is found by its name",
        "kauldron apps install digits_app",
        flags=(Flag("overwrite", bool, False, "Replace one of the same name."),),
        positional=_APP,
        takes_cfg=False,
    ),
    Command(
        "apps worker",
        "apps:worker",
        "answer calls, a JSON object per line on stdin, and stay loaded",
        "kauldron apps worker digits_app",
        flags=(_TRUST_CODE,),
        positional=_APP,
        takes_cfg=False,
    ),
    *apps_server_commands.ALL,
)
