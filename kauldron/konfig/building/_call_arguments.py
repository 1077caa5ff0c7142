"""Checking a config's call against the signature of its callable."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.building import _problems
from kauldron.konfig.names import _annotations, _qualname, _short_names, _signature
from kauldron.konfig.tree import _call_targets, _field_names, _nodes

Problem = _problems.Problem
_CHECKED_TYPES = (str, int, float, bytes)


def check(target: Any, node: Any, path: _field_names.Path) -> Iterator[Problem]:
    """Yields what is wrong with the arguments of one call.

    Args:
      target: What it calls.
      node: The call.
      path: Where the node is in the config.
    """
    name = _qualname.shorten(str(node._fields[_qualname.QUALNAME]))
    positional, named = _nodes.split_call(node)
    if not callable(target):
        what = f"`{name}` is not callable, it is {_errors.short(target)}."
        yield _problem("type", what, node, path)
        return
    is_partial = _call_targets.is_partial_of_something(node)
    if is_partial:
        wrapped = _nodes.peek(positional.pop(0))
        qualname = wrapped.get(_qualname.CONST) if hasattr(wrapped, "get") else None
        if not qualname:
            return
        try:
            target = _call_targets.import_named_in(wrapped, qualname)
        except (_errors.ConfigImportError, _errors.UntrustedError):
            return  # reported where the constant is
        name = _qualname.shorten(qualname)
    signature = _signature.get(target)
    if signature is not None:
        call = _Call(signature, name, positional, named, node, path)
        yield from call.problems(may_be_incomplete=is_partial)


def _problem(
    kind: str, message: str, node: Any, path: _field_names.Path, key: Any = None
) -> Problem:
    """Returns a problem of a call, or of one of its arguments."""
    if key is not None:
        path = (*path, _field_names.part_of(node, key))
    return Problem(
        field=_field_names.field_name(path),
        message=message,
        kind=kind,
        origin=_field_names.origin_of(node, key),
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Call:
    """The arguments that a node gives, and the signature that is to take them.

    Attributes:
      signature: Of what is called.
      name: As the user writes it.
      positional: Arguments by position, references kept.
      named: Arguments by name, references kept.
      node: The node.
      path: Where it is.
    """

    signature: _signature.Signature
    name: str
    positional: list[Any]
    named: dict[Any, Any]
    node: Any
    path: _field_names.Path

    def problems(self, *, may_be_incomplete: bool) -> Iterator[Problem]:
        yield from self.names()
        if not may_be_incomplete:
            yield from self.missing()
        yield from self.types()

    def problem(self, kind: str, message: str, key: Any = None) -> Problem:
        return _problem(kind, message, self.node, self.path, key)

    def names(self) -> Iterator[Problem]:
        """Arguments that do not exist, or are given twice."""
        signature = self.signature
        num_given, num_taken = len(self.positional), len(signature.positional)
        if num_given > num_taken and not signature.takes_any_positional:
            yield self.problem(
                "unknown_argument",
                f"`{self.name}` takes {num_taken} positional arguments, got "
                f"{num_given}.{_list_arguments(signature)}",
            )
        if signature.takes_any_named:
            return
        by_position = signature.positional[:num_given]
        for key in self.named:
            if key in by_position:
                message = (
                    f"`{self.name}` gets {key!r} twice: by position "
                    f"({by_position.index(key)}) and by name."
                )
            elif key in signature.named:
                continue
            else:
                message = unknown_argument(signature, self.name, key)
            yield self.problem("unknown_argument", message, key)

    def missing(self) -> Iterator[Problem]:
        given = {*self.signature.positional[: len(self.positional)], *self.named}
        missing = [n for n in self.signature.required if n not in given]
        if missing:
            are = "arguments are" if len(missing) > 1 else "argument is"
            names = ", ".join(map(repr, missing))
            yield self.problem(
                "missing_argument", f"`{self.name}`: the {are} missing: {names}."
            )

    def types(self) -> Iterator[Problem]:
        """Values that an annotation certainly rules out."""
        by_position = zip(
            self.signature.positional, enumerate(self.positional), strict=False
        )
        arguments = dict(by_position)
        arguments.update((key, (key, value)) for key, value in self.named.items())
        for parameter, (key, raw) in arguments.items():
            value = raw if type(raw) in _CHECKED_TYPES else _nodes.peek(raw)
            if not isinstance(value, _CHECKED_TYPES):
                continue
            if self.signature.rules_out(parameter, value):
                expected = _annotations.describe(self.signature.types[parameter])
                yield self.problem(
                    "type",
                    f"`{self.name}` expects {expected}, got {_errors.short(value)} "
                    f"({type(value).__name__}).",
                    str(key) if isinstance(key, int) else key,
                )


def unknown_argument(signature: _signature.Signature, name: str, key: Any) -> str:
    """Returns the message for an argument that does not exist."""
    near = _short_names.did_you_mean(str(key), signature.named)
    hint = _config_function_hint(signature.target, name)
    return f"`{name}` has no argument {str(key)!r}.{near}{_list_arguments(signature)}{hint}"


def _config_function_hint(target: Any, name: str) -> str:
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


def _list_arguments(signature: _signature.Signature) -> str:
    described = signature.describe()
    if not described:
        return " It takes no arguments."
    return f"\n  Its arguments: {_errors.list_names(described, limit=24)}."
