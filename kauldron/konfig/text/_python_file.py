"""`konfig.to_python`: a config as the file that a user would have written."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
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
    _walk,
)

_INDENT = "    "


def to_python(cfg: Any) -> str:
    """Returns a Python config file whose `get_config()` returns an equal config.

    Shared nodes become variables, references stay references if they are expressions of
    fields; otherwise their value is written.

    Args:
      cfg: A config, or nested dicts as read from JSON.

    Returns:
      The text of the file.

    Example:

    ```python
    from kauldron import konfig

    text = konfig.to_python(konfig.ConfigDict({"seed": 1}))
    assert 'cfg = konfig.ConfigDict({"seed": 1})' in text
    ```
    """
    cfg = _config_dict.as_config(cfg)
    names = _import_block.Names(_qualnames(cfg))
    body = _Writer(cfg, names).write()
    lines = ["from kauldron import konfig"]
    if "pathlib." in body:
        lines.insert(0, "import pathlib\n")
    block = names.to_text()
    function = f"def get_config():\n{body}"
    return "\n".join(lines) + "\n\n" + (f"{block}\n\n\n" if block else "\n") + function


def _qualnames(cfg: Any) -> list[str]:
    """Returns every name that the config mentions, in order."""
    found: dict[str, None] = {}
    for node in _walk.iter_nodes(cfg, _nodes.peek):
        for key in (_qualname.QUALNAME, _qualname.CONST):
            if isinstance(name := node._fields.get(key), str):
                found.setdefault(name)
    return list(found)


class _Writer:
    """Writes the body of `get_config()`."""

    def __init__(self, cfg: Any, names: _import_block.Names):
        self.cfg = cfg
        self.names = names
        self.shared = _walk.find_shared(cfg, self.written_value)
        self.variables: dict[int, str] = {id(cfg): "cfg"}
        self.taken = {"cfg", "konfig", "pathlib", *names.variables}
        self.active: set[int] = set()
        self.lines: list[str] = []
        self.fixups: list[
            tuple[str, _brackets.Doc]
        ] = []  # assignments that close cycles

    def write(self) -> str:
        self.write_root()
        for target, doc in self.fixups:
            self.assign(target, doc)
        self.lines.append("return cfg")
        return "".join(f"{_INDENT}{line}\n" for line in self.lines)

    def assign(self, target: str, doc: _brackets.Doc) -> None:
        line = _brackets.prefixed(f"{target} = ", doc)
        self.lines.append(_brackets.render(line, indent=len(_INDENT)))

    def write_root(self) -> None:
        """Writes `cfg = Trainer(seed=1)`, then one assignment per nested field."""
        cfg = self.cfg
        self.active.add(id(cfg))
        if not isinstance(cfg, _config_dict.ConfigDict):
            self.assign("cfg", self.doc(cfg))
            return
        fields = self.fields_to_write(cfg)
        is_call = _qualname.QUALNAME in cfg._fields
        num_args = _nodes.num_positional(cfg) if is_call else 0
        positional = {str(i) for i in range(num_args)}
        at_once, later = {}, {}
        for key, value in fields.items():
            # Only the first scalars: the order of the fields is kept.
            is_early = not later and _is_scalar(value) and not self.needs_cfg(value)
            (at_once if is_early or key in positional else later)[key] = value
        if _qualname.CONST in cfg._fields:
            at_once, later = fields, {}
        self.assign("cfg", self.constructor(cfg, at_once))
        self.delete_defaults(cfg, "cfg")
        for key, value in later.items():
            target = _target("cfg", key)
            if self.is_unwritten_shared(value):
                self.write_shared(value, target)
            else:
                self.assign(target, self.doc(value))

    def is_unwritten_shared(self, value: Any) -> bool:
        is_node = isinstance(value, _config_dict.ConfigDict)
        return is_node and id(value) in self.shared and id(value) not in self.variables

    def needs_cfg(self, value: Any) -> bool:
        return isinstance(value, _reference.FieldReference) and self.is_kept(value)

    def is_kept(self, value: Any) -> bool:
        """Returns whether a reference is written as one."""
        if isinstance(value, _placeholder.Placeholder):
            return value.is_unset
        if not isinstance(value, _reference.Reference):
            return False
        return _is_expression_of(value, self.cfg)

    def doc(self, value: Any) -> _brackets.Doc:
        """Returns the expression that makes a value."""
        if isinstance(value, _reference.FieldReference):
            if isinstance(value, _reference.Reference) and self.is_kept(value):
                return _reference.to_text(value, literal=_scalar_text)
            if self.is_kept(value):
                return repr(value)
            value = _nodes.peek(value)
        if isinstance(value, _config_dict.ConfigDict):
            return self.node_doc(value)
        if type(value) is list:
            return _brackets.Group("[", [self.doc(v) for v in value], "]")
        if type(value) is tuple:
            items = [self.doc(v) for v in value]
            return _brackets.Group("(", items, ")", is_one_tuple=len(value) == 1)
        return _scalar_text(value)

    def node_doc(self, node: Any) -> _brackets.Doc:
        if id(node) in self.variables:
            return self.variables[id(node)]
        has_name = id(node) in self.shared or self.missing_defaults(node)
        if not has_name or _qualname.CONST in node._fields:
            return self.constructor(node, self.fields_to_write(node))
        name = self.new_name(node)
        self.write_shared(node, name)
        return name

    def write_shared(self, node: Any, name: str) -> None:
        """Writes `name = <node>`; from then on, the node is called so."""
        self.active.add(id(node))
        self.variables[id(node)] = name
        fields = self.fields_to_write(node)
        at_once: dict[Any, Any] = {}
        later: dict[Any, Any] = {}
        for key, value in fields.items():
            (later if self.reaches_active(value) else at_once)[key] = value
        self.assign(name, self.constructor(node, at_once))
        self.delete_defaults(node, name)
        for key, value in later.items():
            self.fixups.append((_target(name, key), self.doc(value)))
        self.active.discard(id(node))

    def reaches_active(self, value: Any) -> bool:
        """Returns whether a value holds a node that is not written yet: a cycle."""

        def read(value: Any) -> Any:
            value = self.written_value(value)
            return None if value is self.cfg else value

        return any(id(node) in self.active for node in _walk.iter_nodes(value, read))

    def written_value(self, value: Any) -> Any:
        """Returns what is written for a value: a reference, or what it refers to."""
        return value if self.needs_cfg(value) else _nodes.peek(value)

    def new_name(self, node: Any) -> str:
        base = _import_block.to_variable(
            str(node._fields.get(_qualname.QUALNAME, "shared")).rpartition(".")[2]
        )
        name, i = base, 1
        while name in self.taken:
            i += 1
            name = f"{base}_{i}"
        self.taken.add(name)
        return name

    def constructor(self, node: Any, fields: dict[Any, Any]) -> _brackets.Doc:
        """Returns the expression that makes a node with the given fields."""
        if _qualname.CONST in node._fields:
            return self.constant(node._fields[_qualname.CONST])
        if _qualname.QUALNAME not in node._fields:
            if self.variables.get(id(node), ".").isidentifier():
                return self.explicit_node(fields)
            return self.dict_doc(fields)
        qualname = str(node._fields[_qualname.QUALNAME])
        name = self.names.expression(qualname, is_call=True)
        if name is None:
            return self.explicit_node({_qualname.QUALNAME: qualname, **fields})
        items: list[_brackets.Doc] = []
        while (key := str(len(items))) in fields:
            items.append(self.doc(fields[key]))
        named = {k: v for k, v in fields.items() if not _is_below(k, len(items))}
        unnamed = {k: v for k, v in named.items() if not _nodes.is_argument_name(k)}
        items += [
            _brackets.prefixed(f"{k}=", self.doc(v))
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
            _brackets.prefixed(f"{_scalar_text(k)}: ", self.doc(v))
            for k, v in fields.items()
        ]
        return _brackets.Group("{", items, "}")

    def fields_to_write(self, node: Any) -> dict[Any, Any]:
        """Returns the fields that a new node does not have by default."""
        defaults = _default_values.get(node)
        return {
            key: value
            for key, value in node._fields.items()
            if key not in (_qualname.QUALNAME, _qualname.CONST)
            and not (key in defaults and _same_default(defaults[key], value))
        }

    def missing_defaults(self, node: Any) -> list[Any]:
        defaults = _default_values.get(node)
        return [key for key in defaults if key not in node._fields]

    def delete_defaults(self, node: Any, name: str) -> None:
        for key in self.missing_defaults(node):
            self.lines.append(f"del {_target(name, key)}")


def _is_below(key: Any, num_args: int) -> bool:
    return isinstance(key, str) and key.isdigit() and int(key) < num_args


def _same_default(default: Any, value: Any) -> bool:
    is_reference = isinstance(default, _reference.FieldReference)
    if is_reference != isinstance(value, _reference.FieldReference):
        return False
    return _nodes.equal(default, value, set())


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


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, _config_dict.ConfigDict | list | tuple)


def _target(variable: str, key: Any) -> str:
    if _nodes.is_argument_name(key) and not hasattr(_config_dict.ConfigDict, key):
        return f"{variable}.{key}"
    return f"{variable}[{_scalar_text(key)}]"


def _scalar_text(value: Any) -> str:
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
        items = ", ".join(sorted(map(_scalar_text, value)))
        return f"{{{items}}}" if type(value) is set else f"frozenset({{{items}}})"
    if is_reference:  # refers to nothing
        return repr(value)
    return repr(value)


def _string_text(value: str) -> str:
    """Returns a string literal, in double quotes where that needs no escapes."""
    text = repr(value)
    is_single = text.startswith("'") and '"' not in text
    return f'"{text[1:-1]}"' if is_single else text
