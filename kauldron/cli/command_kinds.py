"""What a command is: name, description and arguments; and what several commands share."""

from __future__ import annotations

from typing import Any, NamedTuple


class Flag(NamedTuple):
    """A flag of a command.

    Attributes:
      name: Without the dashes.
      kind: `bool`, `int`, `float`, `str`, `list` (of texts, comma separated), or `tuple`
        (of texts that may have commas: the flag is given several times).
      default: What it is unless given.
      help: One line.
      shown_default: The default in words, where the value is not informative.
      lower_bound: Least value of a number.
      short_name: One letter that stands for it, `f` for `-f`.
    """

    name: str
    kind: type
    default: Any
    help: str
    shown_default: str = ""
    lower_bound: float | None = None
    short_name: str = ""


class Command(NamedTuple):
    """A command.

    Attributes:
      name: One or two words: `train`, `ckpt ls`.
      function: `module:function` in `kauldron.cli`.
      summary: What it does, for the list of commands.
      example: A command line that works.
      flags: Its own flags.
      positional: Names of the arguments without a dash, such as `WORKDIR`; the last may
        stand for many, `RUN...`.
      takes_cfg: Whether it has `--cfg` and what belongs to it.
      takes_workdir: Whether `--workdir=DIR` says which run, in place of `--cfg`, or of
        the first argument without a dash.
      takes_patches: Whether `--patch.*` can shrink the config for a trial.
    """

    name: str
    function: str
    summary: str
    example: str
    flags: tuple[Flag, ...] = ()
    positional: tuple[str, ...] = ()
    takes_cfg: bool = True
    takes_workdir: bool = False
    takes_patches: bool = False

    @property
    def shared_flags(self) -> tuple[Flag, ...]:
        """The flags shared with other commands, except `--cfg`, which is special."""
        workdir = (WORKDIR,) if self.takes_workdir else ()
        trust = (TRUST,) if self.takes_cfg else ()
        return (*workdir, *trust, *COMMON)


WORKDIR = Flag(
    "workdir",
    str,
    None,
    "Directory of a run; its config is used unless --cfg names another.",
)
TRUST = Flag(
    "trust", list, [], "Packages that a config.json from elsewhere may name.", "none"
)
COMMON = (
    Flag("debug", bool, False, "Show the traceback of mistakes, too."),
    Flag(
        "catch_post_mortem",
        bool,
        False,
        "Enter the debugger where an exception was raised.",
    ),
)
# Fields of `PatchConfig`, given as `--patch.name=value`.
PATCHES = (
    Flag("stop_after_steps", int, 1, "Steps to train."),
    Flag("batch_size", str, "devices", "Batch size, 'devices': one each, None: as is."),
    Flag("num_batches", int, 1, "Batches per evaluation; None: as is."),
    Flag("skip_eval", bool, False, "Run no evaluators."),
    Flag("eval_run_once", bool, True, "Run each evaluator once, at step 0."),
    Flag("skip_checkpointer", bool, True, "Save and restore nothing."),
    Flag("skip_metrics", bool, False, "Measure no metrics."),
    Flag("skip_summaries", bool, False, "Write no summaries."),
    Flag("skip_flatboard", bool, True, "Make no dashboards."),
    Flag("profile", bool, False, "Train 17 steps, and profile them."),
    Flag("checkify", bool, False, "Check for NaN, indices and divisions by zero."),
)
