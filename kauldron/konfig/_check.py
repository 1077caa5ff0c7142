"""`konfig.check`: everything that is wrong with a config, before anything is built."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from kauldron._base import errors
from kauldron.konfig import (
    _annotations,
    _config_dict,
    _errors,
    _proxy,
    _qualname,
    _reference,
    _repr,
    _signature,
    _unused,
)

Path = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    Attributes:
      field: The field as the user writes it: `cfg.optimizer.learning_rte`.
      message: What is wrong, and what to do.
      kind: `unknown_argument`, `missing_argument`, `import`, `type`, `required`,
        `reference`, `untrusted`, `unused`.
      origin: File and line, or the flag, where it was written; may be empty.
      is_error: Whether the config cannot be resolved; otherwise it is a warning.
      cause: The exception that the message was taken from, if any.
    """

    field: str
    message: str
    kind: str
    origin: str = ""
    is_error: bool = True
    cause: Exception | None = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        where = f" ({self.origin})" if self.origin else ""
        warning = "" if self.is_error else "warning: "
        return f"{warning}In `{self.field}`{where}: {self.message}"


_EXCEPTIONS: dict[str, type[_errors.ConfigError]] = {
    "unknown_argument": _errors.ConfigTypeError,
    "missing_argument": _errors.ConfigTypeError,
    "import": _errors.ConfigImportError,
    "type": _errors.ConfigTypeError,
    "required": _errors.RequiredValueError,
    "reference": _errors.ConfigError,
    "untrusted": _errors.UntrustedError,
}


def check(cfg: Any, *, trusted: Iterable[str] = ()) -> list[Problem]:
    """Returns everything that is wrong with a config, without building anything.

    Imports what the config names. Finds: unknown and missing arguments, names that
    cannot be imported, values of a type that the annotation rules out, required values
    that are not set, references to fields that don't exist; and, as a warning, values in
    `cfg.aux` that nothing refers to.

    Args:
      cfg: A config, or nested dicts and lists as read from JSON.
      trusted: For a config from elsewhere (see `konfig.load`), packages whose names it
        may use as well.

    Returns:
      The problems, in the order of the config; empty if there are none.

    Example:

    ```python
    from kauldron import konfig

    with konfig.imports():
        import fractions

    (problem,) = konfig.check(fractions.Fraction(1, denominatr=2))
    assert "Did you mean 'denominator'?" in problem.message
    ```
    """
    cfg = as_config(cfg)
    if trusted:
        from kauldron.konfig import _trust

        cfg = _trust.extend(cfg, trusted)
    unused = [
        Problem(
            field=field_name(path),
            message="nothing refers to it.",
            kind="unused",
            origin=origin_of(cfg._fields["aux"], path[-1]),
            is_error=False,
        )
        for path in _unused.find(cfg)
    ]
    return [*_Checker().check(cfg, ()), *unused]


def raise_errors(problems: list[Problem]) -> None:
    """Raises one exception that tells all the problems that are errors."""
    found = [p for p in problems if p.is_error]
    if not found:
        return
    all_lines = to_lines(found)
    lines = all_lines[:_MAX_SHOWN]
    if len(all_lines) > 1:
        lines.insert(0, f"The config has {len(found)} mistakes:")
    if len(all_lines) > _MAX_SHOWN:
        lines.append(f"... and {len(all_lines) - _MAX_SHOWN} more.")
    raise _EXCEPTIONS[found[0].kind]("\n".join(lines))


def to_lines(problems: list[Problem]) -> list[str]:
    """Returns a text for each problem; all names that are not trusted share one."""
    refused = [p.cause for p in problems if isinstance(p.cause, _errors.UntrustedError)]
    if len(refused) < 2:
        return [str(p) for p in problems]
    from kauldron.konfig import _trust

    others = [p for p in problems if not isinstance(p.cause, _errors.UntrustedError)]
    return [_trust.summarize(refused), *map(str, others)]


_MAX_SHOWN = 10


def as_config(value: Any) -> Any:
    """Returns nested dicts and lists as config nodes."""
    if isinstance(value, _config_dict.ConfigDict):
        return value
    return _config_dict.ConfigDict({"value": value})["value"]


def field_name(path: Path) -> str:
    """Returns a path as the user writes it: `cfg.a[0].b`."""
    from kauldron import kontext

    text = str(kontext.Path(*path))
    return f"cfg.{text}" if text and not text.startswith("[") else f"cfg{text}"


def part_of(node: Any, key: Any) -> Any:
    """Returns a key as a part of a path: that of a positional argument is a number."""
    is_position = _proxy.QUALNAME in node and isinstance(key, str) and key.isdigit()
    return int(key) if is_position else key


def check_errors(cfg: Any) -> list[Problem]:
    """Returns the problems that make a config impossible to resolve."""
    return [p for p in _Checker().check(cfg, ()) if p.is_error]


def check_errors_in(value: Any, path: Path) -> list[Problem]:
    """`check_errors` of what is at a path of a config."""
    return [p for p in _Checker().check(value, path) if p.is_error]


class _Checker:
    """Walks a config once; shared nodes are checked where they are met first."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.targets: dict[Any, Any] = {}

    def check(self, value: Any, path: Path) -> Iterator[Problem]:
        yield from self.check_value(value, path, None)

    def check_value(self, raw: Any, path: Path, parent: Any) -> Iterator[Problem]:
        value, problem = _read(raw, path, parent)
        if problem is not None:
            yield problem
            return
        if isinstance(value, _config_dict.ConfigDict):
            if id(value) in self.seen:
                return
            self.seen[id(value)] = value
            yield from self.check_node(value, path)
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                yield from self.check_value(item, (*path, i), parent)

    def check_node(self, node: Any, path: Path) -> Iterator[Problem]:
        fields = node._fields
        if _proxy.CONST in fields:
            yield from self.check_import(fields[_proxy.CONST], node, path)
            return
        excluded: tuple[str, ...] = ()
        if _proxy.QUALNAME in fields:
            problems = list(self.check_import(fields[_proxy.QUALNAME], node, path))
            if not problems:
                target = self.targets[fields[_proxy.QUALNAME], node._trust]
                excluded = getattr(target, "__konfig_resolve_exclude_fields__", ())
                problems = list(check_call(target, node, path))
            yield from problems
        for key, value in fields.items():
            if key != _proxy.QUALNAME and key not in excluded:
                yield from self.check_value(value, (*path, part_of(node, key)), node)

    def check_import(self, qualname: Any, node: Any, path: Path) -> Iterator[Problem]:
        if (qualname, node._trust) in self.targets:
            return
        try:
            self.targets[qualname, node._trust] = _qualname.import_named_in(
                node, qualname
            )
        except _errors.UntrustedError as error:
            yield Problem(
                field=field_name(path),
                message=str(error),
                kind="untrusted",
                origin=origin_of(node),
                cause=error,
            )
        except _errors.ConfigImportError as error:
            yield Problem(
                field=field_name(path),
                message=str(error),
                kind="import",
                origin=origin_of(node),
            )


def _read(raw: Any, path: Path, parent: Any) -> tuple[Any, Problem | None]:
    """Returns the value behind references, or what is wrong with it."""
    if not isinstance(raw, _reference.FieldReference):
        return raw, None
    try:
        if not _reference.is_required_unset(raw):
            return raw.get(), None
        expected = _reference.describe_type(raw.get_type())
        message, kind = f"A required value is not set{expected}.", "required"
    except _errors.RequiredValueError as error:
        message, kind = str(error), "required"
    except Exception as error:
        message, kind = str(error), "reference"
    origin = origin_of(parent, path[-1] if path else None)
    return None, Problem(field_name(path), message, kind, origin)


def origin_of(node: Any, key: Any = None) -> str:
    """Returns where a node, or a field of it, was written; empty if not known."""
    if not isinstance(node, _config_dict.ConfigDict):
        return ""
    origin = (node._origins or {}).get(key) or node._origin
    return str(origin) if origin else ""


def check_call(target: Any, node: Any, path: Path) -> Iterator[Problem]:
    """Yields what is wrong with the arguments of one call."""
    if not callable(target):
        yield Problem(
            field=field_name(path),
            message=f"{_name(node)} is not callable, it is {_errors.short(target)}.",
            kind="type",
            origin=origin_of(node),
        )
        return
    positional, named = _repr.split_call(node)
    is_partial = is_partial_of_something(node)
    if is_partial:
        wrapped = _repr.peek(positional.pop(0))
        qualname = wrapped.get(_proxy.CONST) if hasattr(wrapped, "get") else None
        if not qualname:
            return
        try:
            target = _qualname.import_named_in(wrapped, qualname)
        except (
            _errors.ConfigImportError,
            _errors.UntrustedError,
        ):  # reported where the constant is
            return
        name = _qualname.shorten(qualname)
    else:
        name = _name(node)
    signature = _signature.get(target)
    if signature is None:
        return
    yield from _check_names(signature, name, positional, named, node, path)
    if not is_partial:
        yield from _check_missing(signature, name, positional, named, node, path)
    yield from _check_types(signature, name, positional, named, node, path)


def is_partial_of_something(node: Any) -> bool:
    """Returns whether a node is `functools.partial` with a function."""
    fields = node._fields
    return "0" in fields and fields[_proxy.QUALNAME] == "functools:partial"


def _name(node: Any) -> str:
    return _qualname.shorten(str(node._fields[_proxy.QUALNAME]))


def _check_names(
    signature: Any, name: str, positional: Any, named: Any, node: Any, path: Path
) -> Iterator[Problem]:
    too_many = len(positional) - len(signature.positional)
    if too_many > 0 and not signature.takes_any_positional:
        yield Problem(
            field=field_name(path),
            message=f"`{name}` takes {len(signature.positional)} positional "
            f"arguments, got {len(positional)}."
            + _list_arguments(signature, prefix="\n  Its arguments: "),
            kind="unknown_argument",
            origin=origin_of(node),
        )
    given_twice = set(signature.positional[: len(positional)]) & named.keys()
    for key in named:
        if key in given_twice and not signature.takes_any_named:
            index = signature.positional.index(key)
            message = f"`{name}` gets {key!r} twice: by position ({index}) and by name."
        elif key in signature.named or signature.takes_any_named:
            continue
        else:
            message = unknown_argument(signature, name, key)
        yield Problem(
            field=field_name((*path, part_of(node, key))),
            message=message,
            kind="unknown_argument",
            origin=origin_of(node, key),
        )


def unknown_argument(signature: Any, name: str, key: Any) -> str:
    """Returns the message for an argument that does not exist."""
    near = errors.did_you_mean(str(key), signature.named)
    known = _list_arguments(signature, prefix="\n  Its arguments: ")
    hint = config_function_hint(signature.target, name)
    return f"`{name}` has no argument {str(key)!r}.{near}{known}{hint}"


def config_function_hint(target: Any, name: str) -> str:
    """Returns a hint for a function that makes configs, which was not really called."""
    returns = getattr(target, "__annotations__", {}).get("return", "")
    makes_config = "ConfigDict" in str(getattr(returns, "__name__", returns))
    if not inspect.isfunction(target):
        return ""
    if target.__name__ not in ("get_config", "make_config") and not makes_config:
        return ""
    return (
        f"\n  `{name}()` was called inside `konfig.mock_modules()` or "
        "`konfig.imports()`, so it is a node of the config, not the config that it "
        "returns. Call it outside of the block."
    )


def _list_arguments(signature: Any, *, prefix: str) -> str:
    described = signature.describe()
    if not described:
        return " It takes no arguments."
    return f"{prefix}{_errors.list_names(described, limit=24)}."


def _check_missing(
    signature: Any, name: str, positional: Any, named: Any, node: Any, path: Path
) -> Iterator[Problem]:
    given = {*signature.positional[: len(positional)], *named}
    missing = [n for n in signature.required if n not in given]
    if not missing:
        return
    names = ", ".join(map(repr, missing))
    are = "arguments are" if len(missing) > 1 else "argument is"
    yield Problem(
        field=field_name(path),
        message=f"`{name}`: the {are} missing: {names}.",
        kind="missing_argument",
        origin=origin_of(node),
    )


def _check_types(
    signature: Any, name: str, positional: Any, named: Any, node: Any, path: Path
) -> Iterator[Problem]:
    arguments = dict(zip(signature.positional, enumerate(positional), strict=False))
    arguments.update((key, (key, value)) for key, value in named.items())
    for parameter, (key, raw) in arguments.items():
        value = raw if type(raw) in _CHECKED_TYPES else _repr.peek(raw)
        if not isinstance(value, _CHECKED_TYPES):
            continue
        if signature.rules_out(parameter, value):
            key = str(key) if isinstance(key, int) else key
            yield Problem(
                field=field_name((*path, part_of(node, key))),
                message=wrong_type(signature.types[parameter], value, f"`{name}`"),
                kind="type",
                origin=origin_of(node, key),
            )


_CHECKED_TYPES = (str, int, float, bytes)


def wrong_type(annotation: Any, value: Any, of: str) -> str:
    """Returns the message for a value that does not fit an annotation."""
    return (
        f"{of} expects {_annotations.describe(annotation)}, got "
        f"{_errors.short(value)} ({type(value).__name__})."
    )
