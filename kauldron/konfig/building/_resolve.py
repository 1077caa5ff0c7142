"""`konfig.resolve`: builds the objects that a config describes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from kauldron._base import frozen_dict, tracebacks
from kauldron.konfig import _errors
from kauldron.konfig.building import _check, _problems
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import (
    _call_targets,
    _config_dict,
    _field_names,
    _node_trust,
    _nodes,
    _printer,
    _reference,
    _values,
)

_NO_FREEZE = "_konfig_experimental_nofreeze"
_MAX_REPR = 300
_MAX_PLACES = 3


def resolve(cfg: Any, *, freeze: bool = True, trusted: Iterable[str] = ()) -> Any:
    """Returns the objects that a config stands for.

    The config is checked first (see `konfig.check`), so that most mistakes are
    reported, all at once, before anything is built. Then every call node is called, the
    innermost first. A node that occurs more than once is called once, and its object
    shared.

    A constructor takes part by two attributes of its class:
    `__konfig_resolve_exclude_fields__`, names of arguments that it gets as config nodes;
    `__post_konfig_resolve__(self, cfg)`, called with the node that made the object.

    Args:
      cfg: A config, or nested dicts and lists as read from JSON.
      freeze: Whether lists become tuples, and dicts `ImmutableDict`s.
      trusted: For a config from elsewhere (see `konfig.load`), packages whose names it
        may use as well.

    Returns:
      The object; for a plain dict, the dict of objects.

    Raises:
      ConfigError: A `UserError` that says which field, and where it was written. It is
        also an instance of the builtin exception that a constructor raised, which is
        its `__cause__`.

    Example:

    ```python
    from kauldron import konfig

    with konfig.imports():
        import fractions

    cfg = fractions.Fraction(1, denominator=2)
    cfg.denominator = 4
    assert konfig.resolve(cfg) * 4 == 1
    ```
    """
    __tracebackhide__ = True  # for pytest: the user's own frames matter
    cfg = _config_dict.as_config(cfg)
    if trusted:
        cfg = _node_trust.extend(cfg, trusted)
    if isinstance(cfg, _config_dict.ConfigDict) and _NO_FREEZE in cfg:
        cfg = cfg.__copy__()
        freeze = not cfg[_NO_FREEZE]
        del cfg[_NO_FREEZE]
    _problems.raise_errors(_check.check_errors(cfg))
    logging.getLogger("kauldron.konfig").debug("Resolving %s", cfg)
    return _Resolver(freeze=freeze).resolve(cfg)


class _Failure(Exception):
    """Internal: carries the path of the node that failed up to the root."""

    def __init__(self, cause: BaseException, node: Any):
        super().__init__()
        self.cause = cause
        self.node = node
        self.parts: list[Any] = []


class _Resolver:
    """Resolves one config."""

    def __init__(self, *, freeze: bool):
        self.freeze = freeze
        self.made: dict[int, Any] = {}
        self.kept_alive: list[Any] = []  # so that the ids in `made` stay unique
        self.active: set[int] = set()
        self.targets: dict[Any, Any] = {}

    def resolve(self, value: Any) -> Any:
        __tracebackhide__ = True
        try:
            return self.build(value)
        except _Failure as failure:
            raise _describe(failure) from failure.cause

    def build(self, value: Any) -> Any:
        if type(value) in _values.SCALARS:
            return value
        value = _reference.dereference(value)
        cls = type(value)
        if cls is _config_dict.ConfigDict or isinstance(value, _config_dict.ConfigDict):
            return self.build_node(value)
        if cls is list:
            items = self.build_items(value)
            return tuple(items) if self.freeze else items
        if cls is tuple:
            return tuple(self.build_items(value))
        if isinstance(value, list | tuple):
            return self.build_subclass(value)
        if isinstance(value, dict) or hasattr(cls, "__as_konfig__"):
            return self.build(_config_dict.as_config(value))
        if self.freeze and cls is set:
            return frozenset(value)
        return value

    def build_items(self, values: Any) -> list[Any]:
        return [self.build_part(i, value) for i, value in enumerate(values)]

    def build_subclass(self, value: Any) -> Any:
        if hasattr(value, "_make"):  # a namedtuple
            return type(value)._make(self.build_items(value))
        if self.freeze:
            raise _errors.ConfigTypeError(
                f"A {type(value).__name__} cannot be frozen; use a list or a tuple, or "
                "`konfig.resolve(cfg, freeze=False)`."
            )
        return type(value)(self.build_items(value))

    def build_part(self, part: Any, value: Any) -> Any:
        """Builds a value; adds its name to the failure if it fails."""
        try:
            return self.build(value)
        except _Failure as failure:
            failure.parts.append(part)
            raise
        except _errors.ConfigError as error:
            failure = _Failure(error, None)
            failure.parts.append(part)
            raise failure from error

    def build_node(self, node: Any) -> Any:
        fields = node._fields
        if _qualname.CONST in fields:
            return self.get_target(fields[_qualname.CONST], node)
        if _qualname.QUALNAME not in fields:
            return self.build_dict(node)
        if id(node) in self.made:
            return self.made[id(node)]
        self.enter(node)
        made = self.call(node)
        self.active.discard(id(node))
        self.made[id(node)] = made
        self.kept_alive.append(node)
        return made

    def build_dict(self, node: Any) -> Any:
        self.enter(node)
        made = {k: self.build_part(k, v) for k, v in node._fields.items()}
        self.active.discard(id(node))
        return frozen_dict.ImmutableDict(made) if self.freeze else made

    def enter(self, node: Any) -> None:
        if id(node) in self.active:
            error = _errors.ConfigError(
                "The config contains itself here, so it cannot be resolved."
            )
            raise _Failure(error, node)
        self.active.add(id(node))

    def get_target(self, qualname: str, node: Any) -> Any:
        key = (qualname, node._trust)
        if key not in self.targets:
            try:
                self.targets[key] = _call_targets.import_named_in(node, qualname)
            except Exception as error:
                raise _Failure(error, node) from error
        return self.targets[key]

    def call(self, node: Any) -> Any:
        constructor = self.get_target(node._fields[_qualname.QUALNAME], node)
        excluded = getattr(constructor, "__konfig_resolve_exclude_fields__", ())
        positional, named = _nodes.split_call(node)
        args = self.build_items(positional)
        kwargs = {
            key: _reference.dereference(value)
            if key in excluded
            else self.build_part(key, value)
            for key, value in named.items()
        }
        return _call(constructor, args, kwargs, node)


def _call(
    constructor: Callable[..., Any], args: list[Any], kwargs: Any, node: Any
) -> Any:
    __tracebackhide__ = True
    try:
        made = constructor(*args, **kwargs)
        post_resolve = getattr(type(made), "__post_konfig_resolve__", None)
        if post_resolve is not None:
            post_resolve(made, node)
    except Exception as error:
        raise _Failure(error, node) from error
    return made


def _describe(failure: _Failure) -> _errors.ConfigError:
    """Returns the error that the user sees."""
    cause, node = failure.cause, failure.node
    lines = ["Error resolving the config:"]
    origin = _field_names.origin_of(node)
    where = f" ({origin})" if origin else ""
    lines.append(
        f"  In `{_field_names.field_name(tuple(reversed(failure.parts)))}`{where}"
    )
    # The root is the whole config: its line would hide the message.
    if failure.parts and isinstance(node, _config_dict.ConfigDict):
        lines.append(f"    {_one_line(node)}")
    if places := tracebacks.describe(cause, limit=_MAX_PLACES):
        lines.append(places)
    if isinstance(cause, _errors.ConfigError):
        lines.append(str(cause))
    else:
        lines.append(f"{type(cause).__name__}: {cause}")
    lines += _origins_of_values(node)
    return _errors.like(type(cause))("\n".join(lines))


def _one_line(node: Any) -> str:
    """Returns the call on one line; arguments that need several are left out."""
    first, *rest = _printer.to_text(node).splitlines()
    if rest:
        arguments = [
            line.strip()
            for line in rest
            if line.startswith("    ") and line[4:5].isidentifier() and line[-1] == ","
        ]
        first += " ".join([*arguments, "…"]) + rest[-1].strip()
    return first if len(first) <= _MAX_REPR else f"{first[:_MAX_REPR]}…"


def _origins_of_values(node: Any) -> list[str]:
    """Returns a line per argument that is a reference: there the value was set."""
    if not isinstance(node, _config_dict.ConfigDict):
        return []
    return [
        f"`{name}` is `{value!r}`."
        for name, value in node._fields.items()
        if isinstance(value, _reference.Reference)
    ]
