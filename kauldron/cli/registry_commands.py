"""The commands of the registry, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import TRUST, Command, Flag

_JSON = Flag("json", bool, False, "Print JSON.")
_DESCRIPTION = Flag("description", str, None, "What it is about.", "as it was")
_IN_PROJECT = Flag("project", str, None, "The project it is in.", "the only one")
_OF_PROJECT = Flag("project", str, None, "Only of this project.", "all")
_WITH_RUNS = Flag("with_runs", bool, False, "Forget its runs too; workdirs stay.")
_WHERE = Flag("where", str, None, "The runs of this filter instead.", "those named")
_IS_IN = (_IN_PROJECT._replace(shown_default="that of the settings"),)


def _command(
    name: str,
    function: str,
    summary: str,
    arguments: str,
    flags: tuple[Flag, ...] = (),
    positional: tuple[str, ...] = (),
) -> Command:
    example = f"kauldron {name} {arguments}".rstrip()
    return Command(name, function, summary, example, flags, positional, takes_cfg=False)


def _of_group(kind: str, called: str, plural: str) -> tuple[Command, ...]:
    """Returns the four commands of a kind of group."""
    family = Flag("family", str, None, "The family it is in.", "none")
    is_in = () if kind == "project" else _IS_IN
    is_in += (family,) if kind == "experiment" else ()
    finds = () if kind == "project" else (_IN_PROJECT,)
    lists = () if kind == "project" else (_OF_PROJECT,)
    project = "" if kind == "project" else " --project=digits"
    return (
        _command(
            f"{kind} create",
            f"groups:create_{kind}",
            f"make a {kind}, or describe one"
            if kind != "experiment"
            else "make an experiment, or describe one",
            f"{called}{project} --description='What it is about.'",
            (*is_in, _DESCRIPTION),
            ("NAME",),
        ),
        _command(
            f"{kind} ls", f"groups:ls_{kind}", f"list the {plural}", "", (*lists, _JSON)
        ),
        _command(
            f"{kind} show",
            f"groups:show_{kind}",
            f"what is known of one of the {plural}, and its runs",
            called,
            (*finds, _JSON),
            ("NAME",),
        ),
        _command(
            f"{kind} rm",
            f"groups:rm_{kind}",
            f"remove one of the {plural}, with what is in it",
            called,
            (*finds, _WITH_RUNS),
            ("NAME",),
        ),
    )


_GROUPS = (
    *_of_group("project", "digits", "projects"),
    *_of_group("family", "classifiers", "families"),
    *_of_group("experiment", "wide", "experiments"),
)

_DATASETS = (
    _command(
        "dataset create",
        "datasets:create",
        "give data a name and a fingerprint; the same again: as it is now",
        "digits data/digits.npz --description='8x8 digits'",
        (_DESCRIPTION,),
        ("NAME", "PATH"),
    ),
    _command("dataset ls", "datasets:ls", "list the datasets", "", (_JSON,)),
    _command(
        "dataset show",
        "datasets:show",
        "where a dataset is, and whether it has changed",
        "digits",
        (_JSON,),
        ("NAME",),
    ),
    _command(
        "dataset rm",
        "datasets:rm",
        "forget a dataset; its files stay",
        "digits",
        (),
        ("NAME",),
    ),
)

_ARTIFACTS = (
    _command(
        "artifact create",
        "artifacts:create",
        "enter the next version of what a run has made",
        "digits exports/digits --kind=export --run=run_0012 --tags=small",
        (
            Flag("kind", str, "model", "Such as model, export, report."),
            Flag("run", str, None, "The run that made it.", "none"),
            Flag("tags", list, [], "Words by which it is found.", "none"),
            Flag("description", str, None, "What it is.", "none"),
        ),
        ("NAME", "PATH"),
    ),
    _command(
        "artifact ls",
        "artifacts:ls",
        "list the versions of all artifacts",
        "",
        (_JSON,),
    ),
    _command(
        "artifact show",
        "artifacts:show",
        "what is known of a version: that in production, else the newest",
        "digits@3",
        (_JSON,),
        ("NAME",),
    ),
    _command(
        "artifact promote",
        "artifacts:promote",
        "move a version on: draft, staging, production, archived",
        "digits --to=production",
        (Flag("to", str, None, "The stage.", "the next one"),),
        ("NAME",),
    ),
    _command(
        "artifact rm",
        "artifacts:rm",
        "forget a version; its files stay",
        "digits@3",
        (),
        ("NAME@VERSION",),
    ),
)

_RUNS = (
    _command(
        "runs index",
        "runs:index",
        "enter all runs below a folder, or bring them up to date",
        "runs/",
        (),
        ("[DIR]",),
    ),
    _command(
        "runs ls",
        "runs:ls",
        "list runs: filtered, sorted, as a table, JSON or CSV",
        "--where 'eval.accuracy>0.9 and optimizer.learning_rate<1e-2' "
        "--sort=-eval.accuracy --json",
        (
            Flag("where", str, None, "A filter, such as 'eval.accuracy > 0.9'.", "all"),
            Flag("sort", str, None, "Names; -eval.accuracy: the largest first.", "id"),
            _OF_PROJECT,
            Flag("experiment", str, None, "Only of this experiment.", "all"),
            Flag("archived", bool, False, "Show archived ones too."),
            Flag("limit", int, None, "At most so many.", "all", 1),
            Flag("columns", list, [], "What is shown of each.", "what is filtered by"),
            _JSON,
            Flag("csv", bool, False, "Print CSV."),
        ),
    ),
    _command(
        "runs show",
        "runs:show",
        "all that is known of a run",
        "run_0012",
        (_JSON,),
        ("RUN",),
    ),
    _command(
        "runs diff",
        "runs:diff",
        "what differs between the configs of two runs; exit code 1 if anything does",
        "run_0012 run_0013",
        (),
        ("RUN", "RUN"),
    ),
    _command(
        "runs tag",
        "runs:tag",
        "say what runs are: words, a name, where they belong",
        "run_0012 --add=good,small --remove=new",
        (
            Flag("add", list, [], "Words to add.", "none"),
            Flag("remove", list, [], "Words to take away.", "none"),
            Flag("name", str, None, "What the run is called.", "as it was"),
            _IN_PROJECT._replace(shown_default="as it was"),
            Flag("family", str, None, "The family it is in.", "as it was"),
            Flag("experiment", str, None, "The experiment it is in.", "as it was"),
            _WHERE,
        ),
        ("RUN...",),
    ),
    _command(
        "runs archive",
        "runs:archive",
        "leave runs out of lists",
        "run_0012 run_0013",
        (Flag("undo", bool, False, "Show them again."), _WHERE),
        ("RUN...",),
    ),
    _command(
        "runs deliver",
        "delivering:deliver",
        "bring trackers what they have missed of runs that are over",
        "run_0012",
        (_WHERE, TRUST),
        ("RUN...",),
    ),
    _command(
        "runs rm",
        "runs:rm",
        "forget runs; their workdirs stay unless --files",
        "run_0012",
        (Flag("files", bool, False, "Delete the workdirs too."), _WHERE),
        ("RUN...",),
    ),
)

ALL: tuple[Command, ...] = (
    _command(
        "init",
        "workspace:init",
        "make a folder a workspace, where runs are numbered and found",
        "",
        (),
        ("[DIR]",),
    ),
    *_GROUPS,
    *_DATASETS,
    *_ARTIFACTS,
    *_RUNS,
)
