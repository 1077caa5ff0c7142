"""Config files: Python modules with a `get_config()`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kauldron._base import errors, tracebacks
from kauldron.konfig import _errors
from kauldron.konfig.flags import _override, _overrides
from kauldron.konfig.tree import _config_dict
from kauldron.konfig.writing import _capture

ARGS = "__args__"


def load_config_file(
    path: str | os.PathLike[str],
    cli_str_arg: str = "",
    *,
    overrides: Mapping[str, Any] | Iterable[_override.Override] = (),
    tell: Callable[[str], None] = lambda message: None,
    trusted: Iterable[str] = (),
    allow_absent: bool = False,
) -> Any:
    """Returns the config of a file, overrides applied.

    The directory of a Python file and the working directory become importable, so that a
    config can import its neighbours; also when it is resolved later. A JSON file, or a
    workdir, is read with `konfig.load`: it is not trusted.

    Args:
      path: A Python file that defines `get_config()`; `file.py:ARG` gives `ARG` to it.
        Or a JSON file, or a directory with a `config.json`.
      cli_str_arg: What is given to `get_config`, see `get_config_from_module`.
      overrides: `{path: value}`, or `Override`s with text of the command line.
      tell: Gets a line for what is worth telling, such as which fields a glob matched.
      trusted: Packages whose names a JSON config may use, see `konfig.load`.
      allow_absent: Whether packages that the file imports in `konfig.imports()`, and
        that are not installed here, are kept by name, and told: the config can be shown,
        and resolved as far as nothing needs them. What looks like a misspelt name is an
        error still. Commands load configs so.

    Raises:
      ConfigError: A `UserError`: no such file, no `get_config`, an exception in it, or
        an override that does not fit.
    """
    filename, _, arg = split_argument(os.fspath(path))
    if isinstance(overrides, Mapping):
        overrides = _override.from_mapping(overrides)
    if _is_json(filename):
        # Imports the allowlist for untrusted configs, which Python files don't need.
        from kauldron.konfig.text import _json_file

        make_importable(os.getcwd())
        cfg = _json_file.load(filename, trusted=trusted)
        _overrides.apply_overrides(cfg, overrides, tell=tell)
        return cfg
    lazily = _capture.absent_packages_are_lazy(tell)
    with lazily if allow_absent else contextlib.nullcontext():
        module = import_file(filename)
        return get_config_from_module(
            module, cli_str_arg or arg, overrides=overrides, tell=tell
        )


def _is_json(filename: str) -> bool:
    in_directory = os.path.exists(os.path.join(filename, "config.json"))
    return filename.endswith(".json") or in_directory


def split_argument(text: str) -> tuple[str, str, str]:
    """Splits `file.py:ARG` into `('file.py', ':', 'ARG')`."""
    if os.path.exists(text):
        return text, "", ""
    head, separator, tail = text.partition(".py:")
    return (f"{head}.py", ":", tail) if separator else (text, "", "")


def import_file(filename: str) -> types.ModuleType:
    """Executes a Python file as a module.

    Raises:
      ConfigFileError: If there is no such file, or it is no Python file.
      ConfigError: If it raises; names the line.
    """
    _check_file(filename)
    absolute = os.path.abspath(filename)
    make_importable(os.path.dirname(absolute), first=True)
    make_importable(os.getcwd())
    importlib.invalidate_caches()
    digest = hashlib.sha256(absolute.encode()).hexdigest()[:8]
    stem = os.path.splitext(os.path.basename(absolute))[0]
    name = f"_konfig_file_{stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, absolute)
    assert spec is not None and spec.loader is not None  # it ends in `.py`
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the file look for it
    try:
        with explain(absolute, f"executing {filename}"):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def make_importable(directory: str, *, first: bool = False) -> None:
    """Adds a directory to `sys.path` if it is not there."""
    known = {os.path.abspath(entry) for entry in sys.path}
    if directory not in known:
        sys.path.insert(0 if first else len(sys.path), directory)


def _check_file(filename: str) -> None:
    if os.path.isdir(filename):
        near = [f for f in sorted(os.listdir(filename)) if f.endswith(".py")]
        raise _errors.ConfigFileError(
            f"{filename!r} is a directory, not a config file. Python files in it: "
            f"{_errors.list_names(near) or '(none)'}."
        )
    if not os.path.exists(filename):
        raise _no_such_file(filename)
    if not filename.endswith(".py"):
        raise _errors.ConfigFileError(
            f"{filename!r} is not a Python file: the name of a config ends in `.py` or `.json`."
        )


def _no_such_file(filename: str) -> _errors.ConfigError:
    directory, base = os.path.split(filename)
    shown = directory or "."
    if not os.path.isdir(shown):
        hint = f" There is no directory {shown!r} in {os.getcwd()!r}."
    else:
        names = [n for n in sorted(os.listdir(shown)) if n.endswith(".py")]
        near = errors.nearest(base, names, n=1)
        hint = (
            f" Did you mean {os.path.join(directory, near[0])!r}?"
            if near
            else (
                f" Python files in {shown!r}: {_errors.list_names(names) or '(none)'}."
            )
        )
    return _errors.MissingFileError(f"There is no config file {filename!r}.{hint}")


def get_config_from_module(
    module: Any,
    cli_str_arg: str = "",
    *,
    overrides: Mapping[str, Any] | Iterable[_override.Override] = (),
    tell: Callable[[str], None] = lambda message: None,
) -> Any:
    """Returns the config of a module that defines `get_config()`.

    If the module defines a dataclass `ConfigArgs`, `get_config` gets an instance of it,
    made of `cli_str_arg` (`"name=value,other=2"`) and of the overrides whose path begins
    with `__args__`. Otherwise it gets `cli_str_arg` if that is not empty.

    Args:
      module: The module, or anything with these attributes.
      cli_str_arg: Text behind the colon of `--cfg=file.py:TEXT`.
      overrides: `{path: value}`, or `Override`s with text of the command line.
      tell: Gets a line for what is worth telling.

    Raises:
      ConfigFileError: An `AssertionError`: there is no `get_config`.
      ConfigError: If `get_config` raises, or an override does not fit.
    """
    if isinstance(overrides, Mapping):
        overrides = _override.from_mapping(overrides)
    overrides = list(overrides)
    of_args = [o for o in overrides if o.parts[0] == ARGS]
    of_cfg = [o for o in overrides if o.parts[0] != ARGS]
    cfg = _call_get_config(module, cli_str_arg, of_args, tell)
    _overrides.apply_overrides(cfg, of_cfg, tell=tell)
    return cfg


def _call_get_config(
    module: Any,
    cli_str_arg: str,
    overrides: list[_override.Override],
    tell: Callable[[str], None],
) -> Any:
    filename = getattr(module, "__file__", None) or ""
    shown = tracebacks.show_path(filename) if filename else module.__name__
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        functions = [n for n, v in vars(module).items() if inspect.isfunction(v)]
        raise _errors.ConfigFileError(
            f"{shown!r} is no config file: it defines no function `get_config()`."
            + errors.did_you_mean("get_config", functions)
        )
    args: list[Any] = []
    args_class = getattr(module, "ConfigArgs", None)
    if args_class is not None:
        args.append(_make_args(args_class, cli_str_arg, overrides, tell))
    elif overrides:
        raise _errors.ConfigKeyError(
            f"{overrides[0].label}: {shown!r} defines no `ConfigArgs`, so it has no "
            f"`{ARGS}`."
        )
    elif cli_str_arg:
        args.append(cli_str_arg)
    what = f"get_config({', '.join(map(repr, args))}) of {shown}"
    if cli_str_arg and not args_class:
        _check_takes_argument(get_config, shown, cli_str_arg)
    with explain(filename, what):
        cfg = get_config(*args)
    if isinstance(cfg, _config_dict.ConfigDict):
        return cfg
    if isinstance(cfg, Mapping) or hasattr(cfg, "iteritems"):
        return _config_dict.ConfigDict(cfg)
    raise _errors.ConfigFileError(
        f"{what} returned {_errors.short(cfg)} ({type(cfg).__name__}), not a config. "
        "Build it inside `with konfig.imports():`, and return it."
    )


def _check_takes_argument(get_config: Any, shown: str, arg: str) -> None:
    try:
        inspect.signature(get_config).bind(arg)
    except TypeError:
        raise _errors.ConfigTypeError(
            f"`--cfg={shown}:{arg}`: get_config() of {shown} takes no argument. Leave "
            f"out `:{arg}`, or define `get_config(arg)` or a dataclass `ConfigArgs`."
        ) from None


def _make_args(
    args_class: Any,
    text: str,
    overrides: list[_override.Override],
    tell: Callable[[str], None],
) -> Any:
    """Returns the `ConfigArgs` of the colon text and of `__args__` overrides."""
    given = _parse_arguments(text)
    listed = [_override.Override(k, v, flag=f"{k}={v}") for k, v in given]
    for override in overrides:
        if len(override.parts) < 2:
            raise _errors.ConfigKeyError(
                f"{override.label}: name a field, `--cfg.{ARGS}.field=value`."
            )
        inner = str(override.parts[1])
        listed.append(dataclasses.replace(override, path=inner))
    qualname = f"{args_class.__module__}:{args_class.__qualname__}"
    node = _config_dict.ConfigDict({"__qualname__": qualname})
    for field in dataclasses.fields(args_class):
        if field.default is not dataclasses.MISSING:
            node[field.name] = field.default
    _overrides.apply_overrides(node, listed, tell=tell)
    values = {k: node[k] for k in node if k != "__qualname__"}
    for name, value in values.items():
        if isinstance(value, _config_dict.ConfigDict):
            raise _errors.ConfigTypeError(
                f"`{ARGS}.{name}` cannot be a config node, got {value!r}. Arguments of a "
                "config are plain values."
            )
    try:
        return args_class(**values)
    except Exception as error:
        raise _errors.like(type(error))(
            f"ConfigArgs({', '.join(f'{k}={v!r}' for k, v in values.items())}): {error}"
        ) from error


def _parse_arguments(text: str) -> list[tuple[str, str]]:
    """Splits `a=1,b=[2,3]` at the commas between arguments."""
    pairs: list[tuple[str, str]] = []
    pieces = text.split(",") if text else []
    while pieces:
        piece = pieces.pop(0)
        while pieces and not _starts_argument(pieces[0]):
            piece += "," + pieces.pop(0)
        name, separator, value = piece.partition("=")
        if not separator or not name.strip().isidentifier():
            raise _errors.ConfigError(
                f"`{text}`: {piece!r} is no argument. Write `name=value,other=value`."
            )
        pairs.append((name.strip(), value))
    return pairs


def _starts_argument(piece: str) -> bool:
    name, separator, _ = piece.partition("=")
    return bool(separator) and name.strip().isidentifier()


@contextlib.contextmanager
def explain(filename: str, what: str) -> Iterator[None]:
    """Turns an exception of the user's file into one that names the lines.

    Args:
      filename: The file, for exceptions that never were in code of the user.
      what: What was done, such as `executing config.py`.
    """
    try:
        yield
    except Exception as error:
        message = str(error)
        if isinstance(error, SyntaxError):
            message = error.msg
        if not isinstance(error, errors.UserError):
            message = f"{type(error).__name__}: {message}"
        where = tracebacks.describe(error, limit=_MAX_PLACES, with_functions=False)
        if not where and filename:
            where = f"  {tracebacks.show_path(filename)}"
        lines = [f"Error in {what}:", *([where] if where else []), message]
        raise _errors.like(type(error))("\n".join(lines)) from error


_MAX_PLACES = 3
