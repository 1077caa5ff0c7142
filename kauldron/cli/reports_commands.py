"""The commands that compare, plot, report and show runs, and look at tables."""

from __future__ import annotations

from kauldron.cli.command_kinds import Command, Flag

_JSON = Flag("json", bool, False, "Print JSON.")

_RUNS = (
    Command(
        "runs compare",
        "comparing:compare",
        "runs side by side: only what differs",
        "kauldron runs compare run_0012 run_0013",
        flags=(
            Flag("all", bool, False, "Show what is the same in all of them, too."),
            _JSON,
            Flag("csv", bool, False, "Print CSV."),
        ),
        positional=("RUN", "RUN..."),
        takes_cfg=False,
    ),
    Command(
        "runs plot",
        "comparing:plot",
        "curves of runs, in the terminal or as a picture",
        "kauldron runs plot run_0012 run_0013 --metric=eval.accuracy --out=curves.png",
        flags=(
            Flag("metric", str, None, "Such as eval.accuracy.", "the main one"),
            Flag(
                "out",
                str,
                None,
                "A .png, .svg or .pdf file; replaced if it is there.",
                "the terminal",
            ),
            Flag("smooth", float, 0.0, "Weight of what was before, up to 1.", "", 0),
            Flag("log", bool, False, "Equal factors are equally far apart."),
        ),
        positional=("RUN...",),
        takes_cfg=False,
    ),
)

_PAGES = (
    Command(
        "report",
        "comparing:report",
        "write a report of a run, and how good its predictions are; or of several",
        "kauldron report run_0012 --out=report",
        flags=(
            Flag(
                "out",
                str,
                None,
                "The folder to write; an earlier report in it is replaced.",
                "required",
            ),
            Flag(
                "predictions",
                str,
                None,
                "A file of `kauldron predict`, or the folder of an evaluator.",
                "what evaluators have written",
            ),
            Flag(
                "columns",
                list,
                [],
                "What columns are, such as labels=batch.label,logits=preds.logits.",
                "as losses and metrics of the config say",
            ),
            Flag("formats", list, ["md", "html", "json"], "Which files.", "all"),
        ),
        positional=("RUN...",),
        takes_cfg=False,
    ),
    Command(
        "ui",
        "ui:main",
        "look at all runs, in the terminal or as a web page",
        "kauldron ui",
        flags=(
            Flag("web", bool, False, "Serve a web page on this machine instead."),
            Flag("port", int, 0, "Of the web page.", "a free one", 0),
        ),
        takes_cfg=False,
    ),
)

_TABLES = (
    Command(
        "data inspect",
        "data_files:inspect",
        "what the columns of a CSV, Parquet, HDF5, NPZ or JSONL file hold",
        "kauldron data inspect houses.csv",
        flags=(_JSON,),
        positional=("FILE",),
        takes_cfg=False,
    ),
    Command(
        "data summary",
        "data_files:summary",
        "the tables in a folder: rows, columns, sizes",
        "kauldron data summary data/",
        flags=(_JSON,),
        positional=("DIR",),
        takes_cfg=False,
    ),
    Command(
        "data convert",
        "data_files:convert",
        "write a table in the format of another suffix",
        "kauldron data convert houses.csv houses.parquet",
        flags=(Flag("overwrite", bool, False, "Replace a file that is there."),),
        positional=("FILE", "OUT"),
        takes_cfg=False,
    ),
)

ALL: tuple[Command, ...] = (*_RUNS, *_PAGES, *_TABLES)
