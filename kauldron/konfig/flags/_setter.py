"""Setting one path of a config from text: typed, and refused if it cannot be meant."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kauldron._base import errors
from kauldron.konfig import _errors, _origin
from kauldron.konfig.building import _arguments, _check, _problems
from kauldron.konfig.flags import _coercion, _field_text, _override
from kauldron.konfig.names import _qualname, _short_names
from kauldron.konfig.text import _literals
from kauldron.konfig.tree import (
    _call_targets,
    _config_dict,
    _field_names,
    _nodes,
    _placeholder,
    _reference,
    _values,
)


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
            f"`{where}` is {what}, so it has no {self.text(part)!r}. Set `{where}` itself."
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
            raise self.no_such_field(node, key, depth)

    def set_in_sequence(self, items: Any, part: Any, depth: int) -> Any:
        where = self.where(depth)
        if type(part) is not int:
            raise _errors.ConfigKeyError(
                f"`{where}` is a {type(items).__name__}: its items are `{where}[0]`, "
                f"..., it has no {self.text(part)!r}."
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
            self.check_new_key(node, key, depth)
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
        problems = _check.check_errors_in(value, self.parts)
        label = self.override.label  # stands at the beginning of the message anyway
        _problems.raise_errors(
            [
                dataclasses.replace(p, origin="") if p.origin == label else p
                for p in problems
                if p.kind != "required"
            ]
        )

    def check_new_key(self, node: Any, key: Any, depth: int) -> None:
        """Raises if a field that is not there yet cannot be meant."""
        if _qualname.CONST in node:
            raise self.no_such_field(node, key, depth)
        if _qualname.QUALNAME in node:
            signature = _call_targets.signature_of(node)
            if signature is None or key in signature.named:
                return
            if not signature.takes_any_named:
                raise self.no_such_field(node, key, depth)
            self.check_free_name({*signature.named, *node}, key, depth)
            return
        self.check_entry_is_a_call(node, depth)
        self.check_free_name(node, key, depth)

    def check_free_name(self, names: Iterable[Any], key: Any, depth: int) -> None:
        """Raises if a new name, where any is possible, looks like a slip of the pen."""
        if not self.is_quoted(key) and self.is_typo(key, names):
            where = self.where(depth)
            raise _errors.ConfigKeyError(
                f"`{where}` has no field {key!r}."
                f"{errors.did_you_mean(key, map(str, names))} "
                f"To add {key!r} nevertheless, quote it: "
                f"`--{where}[{key!r}]=...`."
            )
        if self.override.is_text:
            self.tell(f"{self.override.label} adds a new field.")

    def check_entry_is_a_call(self, node: Any, depth: int) -> None:
        """Raises for `train_losses.new=3`: every other entry there is a call."""
        value = self.override.value
        others = [_nodes.peek(other) for other in node._fields.values()]
        if not others or not all(map(_values.is_call_or_const, others)):
            return
        if self.override.is_text:
            value = _literals.parse(value)
        if value is not None and not isinstance(value, dict | _config_dict.ConfigDict):
            raise _errors.ConfigTypeError(
                f"the entries of `{self.where(depth)}` are calls, got "
                f"{_errors.short(value)} ({type(value).__name__}). Give "
                "`py::module.Class(argument=1)`, or the name of an entry: "
                f"{_errors.list_names([str(k) for k in node])}."
                f"{errors.did_you_mean(str(self.parts[depth]), map(str, node))}"
            )

    def is_typo(self, key: Any, names: Iterable[Any]) -> bool:
        return isinstance(key, str) and errors.is_probable_typo(key, map(str, names))

    def is_quoted(self, key: Any) -> bool:
        text = self.override.path.rstrip()
        return text.endswith((f"[{key!r}]", f'["{key}"]'))

    def no_such_field(self, node: Any, key: Any, depth: int) -> _errors.ConfigError:
        where = self.where(depth)
        keys = [str(k) for k in node if k not in (_qualname.QUALNAME, _qualname.CONST)]
        if _qualname.QUALNAME in node:
            signature = _call_targets.signature_of(node)
            name = _qualname.shorten(str(node[_qualname.QUALNAME]))
            if signature is not None and key in signature.named:
                return _errors.ConfigKeyError(
                    f"`{where}.{key}` is not set, so that nothing in it can be changed. "
                    f"Set it as a whole: `--{where}.{key}=py::...`."
                )
            if signature is not None and not signature.takes_any_named:
                return _errors.ConfigTypeError(
                    f"{_arguments.unknown_argument(signature, name, key)}{_call_targets.written_at(node)}"
                )
        return _errors.ConfigKeyError(
            f"`{where}` has no field {str(key)!r}."
            f"{_short_names.did_you_mean(str(key), keys)} Its fields: "
            f"{_errors.list_names(keys) or '(none)'}."
        )

    def wrong_type(self, expected: str = "") -> _errors.ConfigTypeError:
        if self.override.is_bare:
            what = f", expected {expected}" if expected else ""
            return _errors.ConfigTypeError(
                f"a value is missing{what}: write `{self.override.name}=VALUE`."
            )
        return _errors.ConfigTypeError(_coercion.explain(self.override.value, expected))

    def where(self, depth: int) -> str:
        return _field_names.field_name(self.parts[:depth])

    def text(self, part: Any) -> str:
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
