"""`DEFINE_config_file`: a config file and overrides of it as command-line flags."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import Any

from absl import flags

from kauldron.konfig import _errors
from kauldron.konfig.flags import _config_file, _override
from kauldron.konfig.tree import _config_dict


def DEFINE_config_file(  # the published name
    name: str,
    default: str | None = None,
    help_string: str = "path to config file.",
    *,
    flag_values: flags.FlagValues = flags.FLAGS,
    lock_config: bool = False,
    use_legacy_flag: bool = False,
) -> flags.FlagHolder:
    """Defines `--name=file.py` and `--name.<path>=<value>`.

    The overrides are taken from the arguments that `flag_values` parses, flag files
    included. The config is built when the value is first read.

    Args:
      name: Name of the flag.
      default: Path of the config file.
      help_string: For `--help`.
      flag_values: Where the flag is registered.
      lock_config: Not supported: configs can always get new fields.
      use_legacy_flag: Accepted for compatibility; there is one kind of flag.

    Returns:
      A holder whose `value` is the config, `None` if no file is given.

    Example:

    ```python
    from absl import flags

    from kauldron import konfig

    flag_values = flags.FlagValues()
    CFG = konfig.DEFINE_config_file("cfg", flag_values=flag_values)
    flag_values(["program"])
    assert CFG.value is None
    ```
    """
    if lock_config:
        raise ValueError("`lock_config=True` is not supported: fields can be added.")
    del use_legacy_flag
    flag = ConfigFlag(name, default, help_string)
    holder = flags.DEFINE_flag(flag, flag_values)
    _OverrideReader.install(flag_values, name)
    return holder


class ConfigFlag(flags.Flag):
    """The flag `--name=file.py`; it knows the overrides of the same command line."""

    def __init__(self, name: str, default: str | None, help_string: str):
        self._overrides: list[_override.Override] = []
        self._built: Any = None
        self._path: Any = None
        # Packages that a JSON config may name, see `konfig.load`; set by commands.
        self.trusted: tuple[str, ...] = ()
        super().__init__(
            flags.ArgumentParser(),
            flags.ArgumentSerializer(),
            name,
            default,
            help_string,
        )

    @property
    def config_filename(self) -> str | None:
        """The path as given, `:ARG` included."""
        return self._path if isinstance(self._path, str) else None

    @property
    def override_values(self) -> dict[str, Any]:
        """Path -> text, for every override given."""
        return {o.path: o.value for o in self._overrides}

    @property
    def overrides(self) -> tuple[_override.Override, ...]:
        """Every override, in the order given."""
        return tuple(self._overrides)

    @property
    def config_overrides(self) -> tuple[_override.Override, ...]:
        """The overrides of fields; those of `__args__` are left out."""
        return tuple(o for o in self._overrides if o.parts[0] != _config_file.ARGS)

    def set_overrides(self, overrides: Sequence[_override.Override]) -> None:
        """Replaces the overrides."""
        self._overrides = list(overrides)
        self._built = None

    @property
    def value(self) -> Any:
        """The config with overrides, built at the first access; `None` without a file.

        Raises:
          ConfigError: A `UserError`: the file or an override is wrong.
        """
        if self._path is None:
            if self._overrides:
                raise _errors.ConfigFileError(
                    f"{self._overrides[0].label} is given, but no config file. "
                    f"Add --{self.name}=path/to/config.py."
                )
            return None
        if self._built is None:
            self._built = self._build()
        return self._built

    @value.setter
    def value(self, value: Any) -> None:
        self._path = value
        self._built = value if isinstance(value, _config_dict.ConfigDict) else None

    def _build(self) -> Any:
        return _config_file.load_config_file(
            self._path,
            overrides=self._overrides,
            tell=tell,
            trusted=self.trusted,
            allow_absent=True,
        )

    def unparse(self) -> None:
        self._overrides = []
        super().unparse()

    def _get_parsed_value_as_string(self, value: Any) -> str | None:
        return None if value is None else repr(value)

    def serialize(self) -> str:
        if self.config_filename is None:
            return ""
        lines = [f"--{self.name}={self.config_filename}"]
        return "\n".join((*lines, *(o.flag for o in self._overrides)))

    def _serialize_value_for_xml(self, value: Any) -> Any:
        return self.config_filename or ""


def tell(message: str) -> None:
    """Prints a line for the user, not into what a command prints."""
    print(message, file=sys.stderr)


class _OverrideReader:
    """Takes the overrides out of the arguments, before absl meets unknown flags.

    Bound to one `FlagValues`, in place of its public `read_flags_from_files`, which absl
    calls with the arguments to parse and which expands flag files.
    """

    def __init__(self, flag_values: flags.FlagValues):
        # A weak reference: a `FlagValues` copies what it holds when it is copied.
        self._flag_values = weakref.ref(flag_values)
        self._names: list[str] = []

    @classmethod
    def install(cls, flag_values: flags.FlagValues, name: str) -> None:
        reader = flag_values.__dict__.get("read_flags_from_files")
        if not isinstance(reader, cls):
            reader = flag_values.__dict__["read_flags_from_files"] = cls(flag_values)
        reader._names.append(name)

    def __deepcopy__(self, memo: Any) -> _OverrideReader:
        return self

    def __call__(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        flag_values: Any = self._flag_values()
        expand = type(flag_values).read_flags_from_files
        args = expand(flag_values, argv, force_gnu)
        for name in self._names:
            args, overrides = split_overrides(name, args)
            flag_values._flags()[name].set_overrides(overrides)
        return args


def split_overrides(
    name: str, args: Sequence[str]
) -> tuple[list[str], list[_override.Override]]:
    """Separates `--name.path=value` from the other arguments.

    `--name.path value` and, for booleans, `--name.path` and `--noname.path` are
    overrides too. Nothing behind `--` is.

    Args:
      name: Name of the flag.
      args: Arguments, without the program.

    Returns:
      The other arguments, and the overrides.
    """
    rest: list[str] = []
    overrides: list[_override.Override] = []
    pending = list(args)
    while pending:
        arg = pending.pop(0)
        if arg == "--":
            return [*rest, arg, *pending], overrides
        path = _path_of(arg, name)
        if path is None:
            rest.append(arg)
            continue
        is_bare = False
        is_negated = arg.lstrip("-").startswith(f"no{name}")
        path, separator, value = path.partition("=") if "=" in path else (path, "", "")
        if is_negated:
            value = "false"
        elif not separator:
            is_bare = not pending or pending[0].startswith("--")
            value = "true" if is_bare else pending.pop(0)
        has_own_text = separator or is_negated or is_bare
        flag = arg if has_own_text else f"{arg}={value}"
        overrides.append(_override.Override(path, value, flag=flag, is_bare=is_bare))
    return rest, overrides


def _path_of(arg: str, name: str) -> str | None:
    """Returns `path=value` of an override; `None` if the argument is none."""
    if not arg.startswith("-"):
        return None
    text = arg[2:] if arg.startswith("--") else arg[1:]
    for prefix in (name, f"no{name}"):
        if text.startswith(f"{prefix}."):
            return text[len(prefix) + 1 :]
        if text.startswith(f"{prefix}["):
            return text[len(prefix) :]
    return None


def parse_overrides(args: Sequence[str], name: str = "cfg") -> list[_override.Override]:
    """Returns the overrides among command-line arguments, without absl.

    Args:
      args: Arguments, without the program.
      name: Name of the flag.

    Raises:
      ConfigError: An argument that is not an override.
    """
    rest, overrides = split_overrides(name, args)
    if rest:
        raise _errors.ConfigError(
            f"{rest[0]!r} is no override. Write `--{name}.field=value`."
        )
    return overrides
