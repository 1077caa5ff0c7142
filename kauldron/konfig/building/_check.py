"""`konfig.check`: reports everything wrong with a config before it is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.building import _aux_references, _call_arguments, _problems
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import (
    _call_targets,
    _config_dict,
    _field_names,
    _node_trust,
    _placeholder,
    _reference,
    _values,
)

Path = _field_names.Path


def check(cfg: Any, *, trusted: Iterable[str] = ()) -> list[_problems.Problem]:
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
    cfg = _config_dict.as_config(cfg)
    if trusted:
        cfg = _node_trust.extend(cfg, trusted)
    unused = [
        _problems.Problem(
            field=_field_names.field_name(path),
            message="nothing refers to it.",
            kind="unused",
            origin=_field_names.origin_of(cfg._fields["aux"], path[-1]),
            is_error=False,
        )
        for path in _aux_references.find(cfg)
    ]
    return [*_Checker().check(cfg, ()), *unused]


def check_errors(cfg: Any) -> list[_problems.Problem]:
    """Returns the problems that make a config impossible to resolve."""
    return [p for p in _Checker().check(cfg, ()) if p.is_error]


def check_errors_in(value: Any, path: Path) -> list[_problems.Problem]:
    """`check_errors` of what is at a path of a config."""
    return [p for p in _Checker().check(value, path) if p.is_error]


class _Checker:
    """Walks a config once; shared nodes are checked where they are met first."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.targets: dict[Any, Any] = {}

    def check(self, value: Any, path: Path) -> Iterator[_problems.Problem]:
        yield from self.check_value(value, path, None)

    def check_value(
        self, raw: Any, path: Path, parent: Any
    ) -> Iterator[_problems.Problem]:
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

    def check_node(self, node: Any, path: Path) -> Iterator[_problems.Problem]:
        fields = node._fields
        if _qualname.CONST in fields:
            yield from self.check_import(fields[_qualname.CONST], node, path)
            return
        excluded: tuple[str, ...] = ()
        if _qualname.QUALNAME in fields:
            problems = list(self.check_import(fields[_qualname.QUALNAME], node, path))
            if not problems:
                target = self.targets[fields[_qualname.QUALNAME], node._trust]
                excluded = getattr(target, "__konfig_resolve_exclude_fields__", ())
                problems = list(_call_arguments.check(target, node, path))
            yield from problems
        for key, value in fields.items():
            if type(value) in _values.SCALARS:
                continue  # the name of the call, too
            if key not in excluded:
                yield from self.check_value(
                    value, (*path, _field_names.part_of(node, key)), node
                )

    def check_import(
        self, qualname: Any, node: Any, path: Path
    ) -> Iterator[_problems.Problem]:
        if (qualname, node._trust) in self.targets:
            return
        try:
            self.targets[qualname, node._trust] = _call_targets.import_named_in(
                node, qualname
            )
        except _errors.UntrustedError as error:
            yield _problems.Problem(
                field=_field_names.field_name(path),
                message=str(error),
                kind="untrusted",
                origin=_field_names.origin_of(node),
                cause=error,
            )
        except _errors.ConfigImportError as error:
            yield _problems.Problem(
                field=_field_names.field_name(path),
                message=str(error),
                kind="import",
                origin=_field_names.origin_of(node),
            )


def _read(raw: Any, path: Path, parent: Any) -> tuple[Any, _problems.Problem | None]:
    """Returns the value behind references, or what is wrong with it."""
    if not isinstance(raw, _reference.FieldReference):
        return raw, None
    try:
        if not _placeholder.is_required_unset(raw):
            return raw.get(), None
        expected = _placeholder.describe_type(raw.get_type())
        message, kind = f"A required value is not set{expected}.", "required"
    except _errors.RequiredValueError as error:
        message, kind = str(error), "required"
    except Exception as error:
        message, kind = str(error), "reference"
    origin = _field_names.origin_of(parent, path[-1] if path else None)
    return None, _problems.Problem(_field_names.field_name(path), message, kind, origin)
