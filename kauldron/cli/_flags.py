"""`--cfg` and its overrides, as every command reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kauldron import errors, konfig

EXAMPLE = "--cfg=examples/digits_classifier.py"
NO_RUN = "No run: say which one, for instance `--workdir=runs/digits`."


class UsageError(errors.UserError):
    """A command was called in a way that cannot be understood."""


class CommandLine:
    """The parsed arguments of a command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.
      define: Defines the command's own flags on a `FlagValues`.
      takes_workdir: Whether `--workdir=DIR` says which run, in place of `--cfg`, or of
        the first positional argument if there are any.
      max_positional: How many arguments without a name the command takes.

    Attributes:
      positional: Arguments without a name.
    """

    def __init__(
        self,
        argv: Sequence[str],
        flag_values: flags.FlagValues | None = None,
        *,
        define: Callable[[flags.FlagValues], None] = lambda flag_values: None,
        takes_workdir: bool = False,
        max_positional: int = 0,
    ) -> None:
        self._values = flags.FLAGS if flag_values is None else flag_values
        self._cfg = _define_flags(self._values)
        self._takes_workdir = takes_workdir
        if takes_workdir:
            flags.DEFINE_string(
                "workdir",
                None,
                "Directory of a run; its config is used unless --cfg names another.",
                flag_values=self._values,
                allow_override=True,
            )
        define(self._values)
        if any(arg.lstrip("-").startswith("jax_") for arg in argv[1:]):
            import jax

            jax.config.config_with_absl()
        self.positional = self._values(list(argv))[1:]
        if takes_workdir and max_positional and self["workdir"] is not None:
            self.positional.insert(0, self["workdir"])
        self._cfg_flag.trusted = tuple(self["trust"])
        if len(self.positional) > max_positional:
            raise UsageError(
                f"Unexpected argument {self.positional[max_positional]!r}. Values are "
                "given as `--cfg.name=value`, without spaces around '='."
            )
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's worker processes read absl's flags

    def __getitem__(self, name: str) -> Any:
        """Returns the value of one of the command's own flags."""
        return self._values[name].value

    @property
    def cfg(self) -> konfig.ConfigDict:
        """The config, overrides applied; that of `--workdir` unless `--cfg` is given.

        Raises:
          UserError: If there is none, or something in it is wrong.
        """
        workdir = self["workdir"] if self._takes_workdir else None
        if workdir is not None:
            from kauldron.train import workdirs

            if self._cfg_flag.config_filename is None:
                workdirs.check_run(workdir)
                self._cfg_flag.value = workdir
            return workdirs.at(self._cfg.value, workdir)
        if self._takes_workdir and self._cfg_flag.config_filename is None:
            raise UsageError(NO_RUN)
        cfg = self._cfg.value
        if cfg is None:
            raise UsageError(
                f"No config: say which one, for instance `{EXAMPLE} "
                "--cfg.workdir=runs/digits`."
            )
        return cfg

    @property
    def run(self) -> str:
        """The run to look at: `--workdir`, or the first argument without a name."""
        if not self.positional:
            raise UsageError(NO_RUN)
        return self.positional[0]

    @property
    def cfg_file(self) -> str:
        """Path of the config file, as given."""
        flag = self._cfg_flag
        if flag.config_filename is None:
            raise UsageError(f"No config: say which one, for instance `{EXAMPLE}`.")
        return flag.config_filename

    @property
    def _cfg_flag(self) -> Any:
        """The `--cfg` of `konfig.DEFINE_config_file`, which knows more than its value."""
        return self._values["cfg"]

    @property
    def origin(self) -> str:
        """A line per thing that the config was made of: the file, each override."""
        overrides = (f"# {o.label}" for o in self._cfg_flag.overrides)
        return "\n".join([f"# {self.cfg_file}", *overrides])


def _define_flags(flag_values: flags.FlagValues) -> flags.FlagHolder:
    flags.DEFINE_bool(
        "debug",
        False,
        "Show the traceback of mistakes, too.",
        flag_values=flag_values,
        allow_override=True,
    )
    flags.DEFINE_bool(
        "catch_post_mortem",
        False,
        "Enter the debugger where an exception was raised.",
        flag_values=flag_values,
        allow_override=True,
    )
    flags.DEFINE_list(
        "trust",
        [],
        "Packages that a config.json from elsewhere may name.",
        flag_values=flag_values,
        allow_override=True,
    )
    return konfig.DEFINE_config_file(
        "cfg", help_string="Config file; --cfg.x=y changes it.", flag_values=flag_values
    )
