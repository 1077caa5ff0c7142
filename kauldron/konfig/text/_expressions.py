"""Python expressions that evaluate to the values of a config."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

from kauldron.konfig.names import _qualname
from kauldron.konfig.text import _import_block
from kauldron.konfig.tree import (
    _brackets,
    _config_dict,
    _default_values,
    _nodes,
    _placeholder,
    _reference,
)


class Expressions:
    """Writes the values of one config.

    Args:
      cfg: The config; references to its fields stay references.
      names: How what is imported is called.
      name_of: Returns the variable that holds a node; `None` for one that is written
        where it stands.
    """

    def __init__(
        self,
        cfg: Any,
        names: _import_block.Names,
        name_of: Callable[[Any], str | None],
    ):
        self.cfg = cfg
        self.names = names
        self.name_of = name_of

    def is_reference(self, value: Any) -> bool:
        """Returns whether a value is written as a reference, not as what it refers to."""
        if isinstance(value, _placeholder.Placeholder):
            return value.is_unset
        if not isinstance(value, _reference.Reference):
            return False
        return _is_expression_of(value, self.cfg)

    def of(self, value: Any) -> _brackets.Doc:
        """Returns the expression that makes a value."""
        if isinstance(value, _reference.FieldReference):
            if self.is_reference(value):
                is_expression = isinstance(value, _reference.Reference)
                return (
                    _reference.to_text(value, literal=scalar_text)
                    if is_expression
                    else repr(value)
                )
            value = _nodes.peek(value)
        if isinstance(value, _config_dict.ConfigDict):
            name = self.name_of(value)
            if name is not None:
                return name
            return self.constructor(value, fields_to_write(value))
        if type(value) is list:
            return _brackets.Group("[", [self.of(v) for v in value], "]")
        if type(value) is tuple:
            items = [self.of(v) for v in value]
            return _brackets.Group("(", items, ")", is_one_tuple=len(value) == 1)
        return scalar_text(value)

    def constructor(
        self, node: Any, fields: dict[Any, Any], *, is_named: bool = False
    ) -> _brackets.Doc:
        """Returns the expression that makes a node with the given fields.

        Args:
          node: The node.
          fields: Those of its fields that are given at once.
          is_named: Whether a variable is to hold it, so that a dict must be a node.
        """
        if _qualname.CONST in node._fields:
            return self.constant(node._fields[_qualname.CONST])
        if _qualname.QUALNAME not in node._fields:
            if is_named:
                return self.explicit_node(fields)
            return self.dict_doc(fields)
        qualname = str(node._fields[_qualname.QUALNAME])
        name = self.names.expression(qualname, is_call=True)
        if name is None:
            return self.explicit_node({_qualname.QUALNAME: qualname, **fields})
        items: list[_brackets.Doc] = []
        while (key := str(len(items))) in fields:
            items.append(self.of(fields[key]))
        named = {k: v for k, v in fields.items() if not _is_below(k, len(items))}
        unnamed = {k: v for k, v in named.items() if not _nodes.is_argument_name(k)}
        items += [
            _brackets.prefixed(f"{k}=", self.of(v))
            for k, v in named.items()
            if k not in unnamed
        ]
        if unnamed:
            items.append(_brackets.prefixed("**", self.dict_doc(unnamed)))
        return _brackets.Group(f"{name}(", items, ")")

    def constant(self, qualname: Any) -> _brackets.Doc:
        name = self.names.expression(str(qualname), is_call=False)
        return self.explicit_node({_qualname.CONST: qualname}) if name is None else name

    def explicit_node(self, fields: dict[Any, Any]) -> _brackets.Doc:
        """For what has no expression of its own: `konfig.ConfigDict({...})`."""
        doc = self.dict_doc(fields)
        return dataclasses.replace(
            doc, opening=f"konfig.ConfigDict({doc.opening}", closing=f"{doc.closing})"
        )

    def dict_doc(self, fields: dict[Any, Any]) -> _brackets.Group:
        items = [
            _brackets.prefixed(f"{scalar_text(k)}: ", self.of(v))
            for k, v in fields.items()
        ]
        return _brackets.Group("{", items, "}")


def fields_to_write(node: Any) -> dict[Any, Any]:
    """Returns the fields that a new node does not have by default."""
    defaults = _default_values.get(node)
    return {
        key: value
        for key, value in node._fields.items()
        if key not in (_qualname.QUALNAME, _qualname.CONST)
        and not (key in defaults and _same_default(defaults[key], value))
    }


def _same_default(default: Any, value: Any) -> bool:
    is_reference = isinstance(default, _reference.FieldReference)
    if is_reference != isinstance(value, _reference.FieldReference):
        return False
    return _nodes.equal(default, value, set())


def _is_below(key: Any, num_args: int) -> bool:
    return isinstance(key, str) and key.isdigit() and int(key) < num_args


def _is_expression_of(value: Any, cfg: Any) -> bool:
    """Returns whether an expression is of fields of `cfg` and of literals only."""
    if not isinstance(value, _reference.Reference):
        return value is None or isinstance(value, bool | int | float | str)
    kind, args = _reference.parts_of(value)
    if kind == _reference.ROOT:
        return args[0] is cfg
    if kind == _reference.CALL:
        return False
    if kind == _reference.ATTR:
        return _is_expression_of(args[0], cfg)
    operands = args[1:] if kind == _reference.OP else args
    return all(_is_expression_of(operand, cfg) for operand in operands)


def scalar_text(value: Any) -> str:
    if type(value) is str:
        return _string_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({_string_text(str(value))})"
    if isinstance(value, pathlib.PurePath):
        return f"pathlib.Path({_string_text(os.fspath(value))})"
    is_reference = isinstance(value, _reference.FieldReference)
    if isinstance(value, os.PathLike) and not is_reference:
        return _string_text(os.fspath(value))
    if value is ...:
        return "..."
    if isinstance(value, set | frozenset) and value:
        items = ", ".join(sorted(map(scalar_text, value)))
        return f"{{{items}}}" if type(value) is set else f"frozenset({{{items}}})"
    if is_reference:  # refers to nothing
        return repr(value)
    return repr(value)


def _string_text(value: str) -> str:
    """Returns a string literal, in double quotes where that needs no escapes."""
    text = repr(value)
    is_single = text.startswith("'") and '"' not in text
    return f'"{text[1:-1]}"' if is_single else text
