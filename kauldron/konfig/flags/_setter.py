"""Setting one config path from text: typed, and refused where it makes no sense.

What checks whole nodes and new fields is imported when there is one: most commands show or
change a few numbers, and start faster without.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.flags import _coercion, _field_text, _override
from kauldron.konfig.tree import (
    _call_targets,
    _config_dict,
    _field_names,
    _nodes,
    _placeholder,
    _reference,
)

if TYPE_CHECKING:
    from kauldron.konfig.flags import _new_field


class Setter:
    """Sets one path."""

    def __init__(
        self,
        override: _override.Override,
        parts: tuple[Any, ...],
        tell: Callable[[str], None],
    ):
        self.override = override
        self.parts = parts
        self.tell = tell

    def set(self, cfg: Any) -> None:
        self.set_in(cfg, 0)

    def set_in(self, container: Any, depth: int) -> Any:
        """Sets the rest of the path; returns the container, a new one if a tuple."""
        part = self.parts[depth]
        if isinstance(container, _config_dict.ConfigDict):
            self.set_in_node(container, part, depth)
            return container
        if isinstance(container, list | tuple):
            return self.set_in_sequence(container, part, depth)
        where = self.where(depth)
        what = "None" if container is None else _errors.short(container)
        raise _errors.ConfigTypeError(
            f"`{where}` is {what}, so it has no {_text(part)!r}. Set `{where}` itself."
        )

    def set_in_node(self, node: Any, part: Any, depth: int) -> None:
        fields = node._fields
        is_field = type(part) is str and part in fields
        key = part if is_field else _call_targets.find_key(node, part)
        is_last = depth + 1 == len(self.parts)
        if is_last:
            self.assign(node, key, depth)
        elif key in fields:
            child = fields[key]
            if isinstance(child, _reference.FieldReference):
                child = node[key]
            new = self.set_in(child, depth + 1)
            if new is not child:
                node[key] = new
        else:
            raise self.new_field(node, key, depth).missing()

    def set_in_sequence(self, items: Any, part: Any, depth: int) -> Any:
        where = self.where(depth)
        if type(part) is not int:
            raise _errors.ConfigKeyError(
                f"`{where}` is a {type(items).__name__}: its items are `{where}[0]`, "
                f"..., it has no {_text(part)!r}."
            )
        if not -len(items) <= part < len(items):
            raise _errors.ConfigIndexError(
                f"`{where}` has {len(items)} items, there is no `{where}[{part}]`."
            )
        changed = list(items)
        if depth + 1 < len(self.parts):
            changed[part] = self.set_in(_nodes.peek(items[part]), depth + 1)
        else:
            value = self.item_value(_nodes.peek(items[part]))
            changed[part] = _config_dict.as_config(value)
            self.check_value(changed[part])
        if isinstance(items, list):
            items[:] = changed
            return items
        return tuple(changed)

    def assign(self, node: Any, key: Any, depth: int) -> None:
        """Sets the last part of the path."""
        if key not in node._fields:
            self.new_field(node, key, depth).check(self.tell)
        raw = node._fields.get(key)
        value = self.convert(raw, node, key)
        if isinstance(value, dict):
            value = _config_dict.as_config(value)
        if isinstance(raw, _placeholder.Placeholder) or not self.override.is_text:
            node[key] = value
        else:  # converted to the right type already, which may be another than before
            with _any_type(node):
                node[key] = value
        self.check_value(node._fields[key])

    def convert(self, raw: Any, node: Any, key: Any) -> Any:
        """Returns the value in the type of the field."""
        if not self.override.is_text:
            return self.override.value
        try:
            value = _field_text.read(self.override.value, raw, node, key)
        except _coercion.Mismatch as mismatch:
            raise self.wrong_type(mismatch.expected) from None
        if self.override.is_bare and not isinstance(value, bool):
            raise self.wrong_type()
        return value

    def item_value(self, current: Any) -> Any:
        """Returns the value for an item of a list."""
        text = self.override.value
        if not self.override.is_text:
            return text
        try:
            if current is None:
                return _coercion.to_untyped(text)
            return _coercion.to_type_of(current, text)
        except _coercion.Mismatch as mismatch:
            raise self.wrong_type(mismatch.expected) from None

    def check_value(self, value: Any) -> None:
        """Reports unknown arguments and the like in a node that was just set."""
        if isinstance(value, _reference.FieldReference):
            value = _nodes.peek(value)
        if not isinstance(value, _config_dict.ConfigDict | list | tuple):
            return
        from kauldron.konfig.building import _check, _problems

        problems = _check.check_errors_in(value, self.parts)
        label = self.override.label  # stands at the beginning of the message anyway
        _problems.raise_errors(
            [
                dataclasses.replace(p, origin="") if p.origin == label else p
                for p in problems
                if p.kind != "required"
            ]
        )

    def wrong_type(self, expected: str = "") -> _errors.ConfigTypeError:
        if self.override.is_bare:
            what = f", expected {expected}" if expected else ""
            return _errors.ConfigTypeError(
                f"a value is missing{what}: write `{self.override.name}=VALUE`."
            )
        return _errors.ConfigTypeError(_coercion.explain(self.override.value, expected))

    def new_field(self, node: Any, key: Any, depth: int) -> _new_field.NewField:
        from kauldron.konfig.flags import _new_field

        return _new_field.NewField(node, key, self.where(depth), self.override)

    def where(self, depth: int) -> str:
        return _field_names.field_name(self.parts[:depth])


def _text(part: Any) -> str:
    return part if isinstance(part, str) else f"[{part!r}]"


@contextlib.contextmanager
def _any_type(node: Any) -> Iterator[None]:
    """Within the block, the fields of this node (not of those below) take any type."""
    was_type_safe = node.__dict__["_type_safe"]
    node.__dict__["_type_safe"] = False
    try:
        yield
    finally:
        node.__dict__["_type_safe"] = was_type_safe


def set_one(
    cfg: Any,
    override: _override.Override,
    parts: _override.Parts,
    tell: Callable[[str], None] = lambda message: None,
) -> None:
    """Sets one path, which a glob may have matched."""
    try:
        with _origin.declare(_origin.Origin(override.label)):
            Setter(override, parts, tell).set(cfg)
    except RecursionError:
        raise _errors.ConfigError(
            f"{override.label}: the value is nested too deeply."
        ) from None
    except errors.UserError as error:
        if str(error).startswith(f"{override.label}: "):
            raise
        raise _errors.like(type(error))(f"{override.label}: {error}") from error
