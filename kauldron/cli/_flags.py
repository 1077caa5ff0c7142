"""Command-line flags: `--cfg` and its overrides, and each command's own flags."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from kauldron import konfig, kontext
from kauldron._base import errors
from kauldron.cli import (
    _origin,
    command_kinds,
    command_runner,
    command_table,
    help_text,
)

EXAMPLE = "--cfg=examples/digits_classifier.py"
NO_RUN = "No run: say which one, for instance `--workdir=runs/digits`."


class UsageError(errors.UserError):
    """A command was called in a way that cannot be understood."""


def run(
    name: str,
    work: Callable[[CommandLine], None],
    argv: Sequence[str],
    flag_values: flags.FlagValues | None = None,
) -> int:
    """Runs a command of the table with its parsed arguments; returns its exit code.

    Args:
      name: Name of the command: `train`, `ckpt ls`.
      work: What it does.
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.
    """
    command = command_table.COMMANDS[name]
    return command_runner.run(
        lambda: work(CommandLine(argv, flag_values, command)),
        argv=argv,
        command=command,
    )


class CommandLine:
    """The parsed arguments of a command.

    Args:
      argv: Program name and arguments.
      flag_values: Where flags are defined; the global ones unless given.
      command: The command, as the table of commands has it.

    Attributes:
      positional: Arguments without a name.
      name: Of the command: `ckpt ls`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        flag_values: flags.FlagValues | None,
        command: command_kinds.Command,
    ) -> None:
        self._command = command
        self.name = command.name
        self._values = flags.FLAGS if flag_values is None else flag_values
        for flag in (*command.flags, *command.shared_flags):
            _define(flag, self._values)
        if command.takes_cfg:
            self._cfg = konfig.DEFINE_config_file(
                "cfg",
                help_string="Config file; --cfg.x=y changes it.",
                flag_values=self._values,
            )
        configures_jax = any(arg.lstrip("-").startswith("jax_") for arg in argv[1:])
        if configures_jax:
            argv = _with_flags_of_jax(argv, self._values)
        args, self._patches = _split_patches(_with_underscores(argv, command), command)
        self._patched: dict[str, Any] = {}
        self.positional = self._parse(args)
        if configures_jax:
            _configure_jax()
        num_positional = len(command.positional)
        if command.takes_workdir and num_positional and self["workdir"] is not None:
            self.positional.insert(0, self["workdir"])
        if command.takes_cfg:
            self._cfg_flag.trusted = tuple(self["trust"])
        takes_many = num_positional and command.positional[-1].endswith("...")
        if len(self.positional) > num_positional and not takes_many:
            raise UsageError(_unexpected(self.positional[num_positional], command))
        self._check_texts_given()
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's worker processes read absl's flags

    def _parse(self, argv: list[str]) -> list[str]:
        """Parses the flags; returns the other arguments."""
        try:
            return self._values(argv)[1:]
        except flags.UnrecognizedFlagError as e:
            raise UsageError(_unknown(e, argv, self._command)) from None
        except flags.IllegalFlagValueError as e:
            raise UsageError(_illegal(e, self._command)) from None
        except flags.Error as e:
            raise UsageError(f"{e}") from None

    def _check_texts_given(self) -> None:
        """Finds flags such as `--out=`."""
        for flag in (*self._command.flags, *self._command.shared_flags):
            if flag.kind is str and self[flag.name] == "" != flag.default:
                raise UsageError(f"`--{flag.name}`: no value is given.")

    def __getitem__(self, name: str) -> Any:
        """Returns the value of one of the command's own flags."""
        return self._values[name].value

    def has(self, name: str) -> bool:
        """Whether the command has a flag of its own with this name."""
        return any(flag.name == name for flag in self._command.flags)

    def required(self, name: str, example: str) -> Any:
        """Returns the value of a flag that has to be given.

        Raises:
          UsageError: If it is not; shows the example.
        """
        if self[name] is None:
            raise UsageError(f"Say --{name}, for instance `--{name}={example}`.")
        return self[name]

    @functools.cached_property
    def cfg(self) -> konfig.ConfigDict:
        """The config, overrides applied; that of `--workdir` unless `--cfg` is given.

        Raises:
          UserError: If there is none, or something in it is wrong.
        """
        takes_workdir = self._command.takes_workdir
        workdir = self["workdir"] if takes_workdir else None
        if workdir is not None:
            from kauldron.workdir import workdirs

            if self._cfg_flag.config_filename is None:
                workdirs.check_run(workdir)
                self._trust_own(workdir)
                self._cfg_flag.value = workdir
            return workdirs.at(self._cfg.value, workdir)
        if takes_workdir and self._cfg_flag.config_filename is None:
            raise UsageError(NO_RUN)
        filename = self._cfg_flag.config_filename
        if filename is not None and not filename.partition(":")[0].endswith(".py"):
            self._trust_own(filename)
        cfg = self._cfg.value
        if cfg is None:
            raise UsageError(
                f"No config: say which one, for instance `{EXAMPLE} "
                "--cfg.workdir=runs/digits`."
            )
        return self._patch(cfg) if self._patches is not None else cfg

    def _trust_own(self, path: str) -> None:
        """Lets a config that a run of this user has written name any package."""
        from kauldron.workdir import workdirs

        self._cfg_flag.trusted = workdirs.trusted_packages(path, self["trust"])

    def _patch(self, cfg: konfig.ConfigDict) -> konfig.ConfigDict:
        """Applies `--patch.*`, over which `--cfg.*` takes precedence."""
        from kauldron.testing import small_runs

        patch = small_runs.PatchConfig.from_overrides(self._patches or ())
        patched, changes = patch(cfg)
        konfig.apply_overrides(patched, self._cfg_flag.config_overrides)
        self._patched = {
            path: value
            for path, value in changes.items()
            if kontext.get_by_path(patched, path, default=None) == value
        }
        return patched

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
    def overrides(self) -> tuple[konfig.Override, ...]:
        """The overrides `--cfg.*`, in the order given."""
        return self._cfg_flag.overrides

    @property
    def _cfg_flag(self) -> Any:
        """The `--cfg` flag of `konfig.DEFINE_config_file`: more than its value."""
        return self._values["cfg"]

    @property
    def origin(self) -> _origin.ConfigOrigin:
        """What the config was made of: the file, each override, each patch."""
        return _origin.ConfigOrigin(
            filename=self.cfg_file,
            overrides={o.label: None for o in self._cfg_flag.overrides},
            patches=self._patched,
        )


class _ListFlag(flags.Flag):
    """A comma-separated list; given again, it becomes longer."""

    _is_given = False

    def parse(self, argument: Any) -> None:
        before = list(self.value or []) if self._is_given else []
        super().parse(argument)
        self.value = [*before, *(self.value or [])]
        self._is_given = True


def _define_list(
    name: str,
    default: list[str] | None,
    help: str,
    *,
    flag_values: flags.FlagValues,
    **kwargs: Any,
) -> None:
    parser, serializer = flags.ListParser(), flags.ListSerializer(",")
    flag = _ListFlag(parser, serializer, name, default, help, **kwargs)
    flags.DEFINE_flag(flag, flag_values)


_DEFINE = {
    tuple: flags.DEFINE_multi_string,
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    list: _define_list,
}


def _with_underscores(argv: Sequence[str], command: command_kinds.Command) -> list[str]:
    """Returns arguments in which `--dry-run` is written as the flag is called."""
    names = {f.name for f in (*command.flags, *command.shared_flags)}
    changed = []
    for arg in argv:
        name, separator, value = arg.partition("=")
        own = name.lstrip("-").replace("-", "_")
        is_own = name.startswith("--") and own in names
        changed.append(f"--{own}{separator}{value}" if is_own else arg)
    return changed


def _with_flags_of_jax(argv: Sequence[str], values: flags.FlagValues) -> Sequence[str]:
    """Defines the flags of JAX, which are global; returns what is left to be parsed."""
    import jax

    jax.config.config_with_absl()
    return argv if values is flags.FLAGS else flags.FLAGS(argv, known_only=True)


def _configure_jax() -> None:
    """Sets what flags such as `--jax_enable_x64` say; otherwise `app.run` would do it."""
    import jax

    for name in flags.FLAGS:
        if name.startswith("jax_") and flags.FLAGS[name].present:
            jax.config.update(name, flags.FLAGS[name].value)


def _define(flag: command_kinds.Flag, flag_values: flags.FlagValues) -> None:
    options: dict[str, Any] = (
        {} if flag.lower_bound is None else {"lower_bound": flag.lower_bound}
    )
    if flag.short_name:
        options["short_name"] = flag.short_name
    define: Any = _DEFINE[flag.kind]
    define(
        flag.name,
        flag.default,
        flag.help,
        flag_values=flag_values,
        allow_override=True,
        **options,
    )


def _unexpected(arg: str, command: command_kinds.Command) -> str:
    message = f"Unexpected argument {arg!r}. "
    if command.takes_cfg:
        return f"{message}Values are given as `--cfg.name=value`, without spaces around '='."
    takes = " ".join(command.positional) or "none"
    return f"{message}`kauldron {command.name}` takes {takes}; see --help."


def _unknown(
    error: flags.UnrecognizedFlagError,
    argv: Sequence[str],
    command: command_kinds.Command,
) -> str:
    """Returns the message for a flag that the command does not have."""
    name = error.flagname
    own = [f.name for f in (*command.flags, *command.shared_flags)]
    if command.takes_cfg:
        own.append("cfg")
    near = errors.nearest(name, own, n=1)
    hints = [f"Did you mean '--{near[0]}'?"] if near else []
    is_field = name.replace(".", "").replace("[", "").replace("]", "").isidentifier()
    is_typo = near == ["cfg"] or errors.is_probable_typo(name, own)
    if command.takes_cfg and is_field and not is_typo:
        given = next((a for a in argv if a.lstrip("-").partition("=")[0] == name), "")
        value = given.partition("=")[2] or "..."
        hints.append(f"A field of the config is set with `--cfg.{name}={value}`.")
    hints.append(f"`kauldron {command.name} --help` lists the flags.")
    return " ".join([f"Unknown flag '--{name}'.", *hints])


def _illegal(error: flags.IllegalFlagValueError, command: command_kinds.Command) -> str:
    """Returns the message for a value that a flag does not take."""
    flag_text = str(error).removeprefix("flag ").partition(": ")[0]
    name, _, value = flag_text.lstrip("-").partition("=")
    for flag in (*command.flags, *command.shared_flags):
        if flag.name == name:
            least = (
                "" if flag.lower_bound is None else f" of at least {flag.lower_bound}"
            )
            kind = help_text.type_name(flag.kind)
            article = "an" if kind[0] in "aeiou" else "a"
            return f"`--{name}` takes {article} {kind}{least}, got {value!r}."
    return str(error)


def _split_patches(
    argv: list[str], command: command_kinds.Command
) -> tuple[list[str], list[konfig.Override] | None]:
    """Separates `--patch` and `--patch.name=value` from the other arguments.

    Returns:
      The other arguments, and the patches; `None` if nothing is to be patched.
    """
    if not command.takes_patches:
        return argv, None
    rest, overrides = konfig.split_overrides("patch", argv)
    is_bare = "--patch" in rest
    return [
        a for a in rest if a != "--patch"
    ], overrides if is_bare or overrides else None
