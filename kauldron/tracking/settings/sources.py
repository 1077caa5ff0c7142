"""Settings of a workspace: `kauldron.yaml`, then `KAULDRON_*`, then defaults.

A setting has a name such as `database`, or `mlflow.uri`. In the file it may be nested; in
the environment it is `KAULDRON_MLFLOW_URI`. What the file says counts for everybody who
works in the workspace, so it goes before the environment of one shell.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Literal, Protocol, TypeAlias

from etils import epath

from kauldron._base import errors, extras, shared_files

FILE = "kauldron.yaml"
PREFIX = "KAULDRON_"

Value: TypeAlias = bool | int | float | str | None
Source = Literal["file", "environment", "default", "set"]


class SettingsError(errors.UserError, ValueError):
    """A setting that does not exist, or a file that cannot be read."""


class Setting:
    """A setting that has a default.

    Args:
      default: What it is unless it is set.
      help: What it is for, in a line.
    """

    def __init__(self, default: Value, help: str) -> None:
        self.default = default
        self.help = help


KNOWN: Mapping[str, Setting] = {
    "database": Setting(
        None,
        "Path or URL of the registry, such as postgresql://host/runs; "
        ".kauldron/registry.db unless set.",
    ),
    "project": Setting("default", "Of runs that name none."),
    "experiment": Setting(
        None, "Of runs that name none; the folder above the workdir unless set."
    ),
    "storage": Setting(None, "Folder or URL where artifacts are uploaded to."),
    "mlflow.uri": Setting(None, "Server or database of MLflow."),
    "redis.url": Setting(None, "Server to which events of runs are published."),
}


class Settings(Protocol):
    """Where settings are kept."""

    def get(self, name: str, default: Value = None) -> Value:
        """Returns a setting; `default` if it is not set.

        Raises:
          SettingsError: If there is no such setting, and no default is given.
        """
        ...

    def set(self, name: str, value: Value) -> None:
        """Sets a setting from now on; `None` removes it."""
        ...

    def source(self, name: str) -> Source:
        """Returns where the value of a setting comes from."""
        ...

    def names(self) -> list[str]:
        """Returns the names of all settings, sorted."""
        ...


class MemorySettings:
    """Settings that go with the program.

    Args:
      values: Name -> value.
    """

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values = dict(values or {})

    def get(self, name: str, default: Value = None) -> Value:
        """See `Settings`."""
        if self._values.get(name) is not None:
            return self._values[name]
        return _default(name, default, self.names())

    def set(self, name: str, value: Value) -> None:
        """See `Settings`."""
        _check(name, value)
        self._values[name] = value

    def source(self, name: str) -> Source:
        """See `Settings`."""
        return "set" if self._values.get(name) is not None else "default"

    def names(self) -> list[str]:
        """See `Settings`."""
        return sorted({*KNOWN, *self._values})


class FileSettings:
    """Settings of a file, then of the environment, then defaults.

    Args:
      path: The file; it need not exist.
      environ: The environment.
    """

    def __init__(
        self, path: epath.PathLike = FILE, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._path = epath.Path(path)
        self._environ = environ

    def get(self, name: str, default: Value = None) -> Value:
        """See `Settings`."""
        in_file = _find(self._read(), name)
        if in_file is not None:
            return in_file
        if (text := self._environ.get(variable(name))) is not None:
            return _parse(text)
        return _default(name, default, self.names())

    def set(self, name: str, value: Value) -> None:
        """Writes a setting to the file; comments of the file are lost.

        Raises:
          SettingsError: If the file cannot be written.
        """
        _check(name, value)
        try:
            with shared_files.exclusive(shared_files.lock_of(self._path)):
                content = self._read()
                _put(content, name, value)
                text = _yaml().safe_dump(content, sort_keys=False) if content else ""
                shared_files.write_atomically(self._path, text)
        except OSError as e:
            raise SettingsError(
                f"{os.fspath(self._path)!r} cannot be written: {e.strerror or e}."
            ) from e

    def source(self, name: str) -> Source:
        """See `Settings`."""
        if _find(self._read(), name) is not None:
            return "file"
        return "environment" if variable(name) in self._environ else "default"

    def problems(self) -> list[str]:
        """Returns what in the file is read by nobody: typos, values of a wrong type."""
        found = []
        for name, value in _leaves(self._read()).items():
            if value is not None and not isinstance(value, bool | int | float | str):
                found.append(f"`{name}` is a number, a text or a flag: got {value!r}.")
            elif name not in KNOWN and (near := errors.did_you_mean(name, KNOWN)):
                found.append(f"there is no setting `{name}`.{near}")
        return [f"{os.fspath(self._path)!r}: {problem}" for problem in found]

    def names(self) -> list[str]:
        """See `Settings`; of the environment those that have a default."""
        return sorted({*KNOWN, *_flat(self._read())})

    def _read(self) -> dict[str, Any]:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as e:
            raise SettingsError(f"{os.fspath(self._path)!r}: {e}") from e
        yaml = _yaml()
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as e:
            raise SettingsError(f"{os.fspath(self._path)!r} is no YAML: {e}") from e
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise SettingsError(
                f"{os.fspath(self._path)!r} is to be a list of `name: value`; it is a "
                f"{type(content).__name__}."
            )
        return content


def variable(name: str) -> str:
    """Returns what a setting is called in the environment."""
    return PREFIX + name.upper().replace(".", "_")


def template() -> str:
    """Returns a file in which everything is still to be set."""
    lines = ["# Settings of this workspace; what is not set is taken from KAULDRON_*."]
    for name, setting in KNOWN.items():
        default = "" if setting.default is None else f" {setting.default}"
        lines += [f"# {setting.help}", f"# {name}:{default}"]
    return "\n".join(lines) + "\n"


def _default(name: str, default: Value, known: Iterable[str]) -> Value:
    if default is not None:
        return default
    if name in KNOWN:
        return KNOWN[name].default
    raise SettingsError(
        f"There is no setting {name!r}.{errors.did_you_mean(name, known)} Settings are "
        f"{', '.join(sorted(known))}."
    )


def _check(name: str, value: object) -> None:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise SettingsError(f"{name!r} is no name of a setting, such as 'mlflow.uri'.")
    if not isinstance(value, bool | int | float | str | None):
        raise SettingsError(
            f"Setting {name!r} is a number, a text or a flag: got {value!r}."
        )


def _parse(text: str) -> Value:
    """Returns the value of a variable as YAML would read it, a text if it is more."""
    yaml = _yaml()
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _find(content: Mapping[str, Any], name: str) -> Value:
    return _flat(content).get(name)


def _flat(content: Mapping[str, Any]) -> dict[str, Value]:
    leaves = _leaves(content).items()
    return {k: v for k, v in leaves if isinstance(v, bool | int | float | str)}


def _leaves(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            values |= _leaves(value, f"{path}.")
        else:
            values[path] = value
    return values


def _put(content: MutableMapping[str, Any], name: str, value: Value) -> None:
    """Sets a value where it stands, else nested."""
    first, _, rest = name.partition(".")
    if name in content or not rest:
        content[name] = value
        if value is None:
            del content[name]
        return
    inner = content.get(first)
    if not isinstance(inner, dict):
        inner = content[first] = {}
    _put(inner, rest, value)
    if not inner:
        del content[first]


def _yaml() -> Any:
    return extras.load(
        "yaml", needed_by="The settings of a workspace", extra="tracking"
    )
