"""Configs as Python-like text."""

from __future__ import annotations

import keyword
from typing import Any

from kauldron import kontext
from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _brackets, _config_dict, _reference
from kauldron.konfig.writing import _proxy


def to_text(value: Any) -> str:
    """Returns a config, or a value in one, as Python-like text.

    Never raises: what has no value is shown as the expression that it is. Nodes that
    occur more than once are marked as in YAML: `&id001` at the first place, `*id001`
    where they occur again.
    """
    return _brackets.render(_Printer(value).print(value))


def to_html(value: Any) -> str:
    """Returns the text with colours, for notebooks."""
    text = to_text(value)
    try:
        import pygments
        from pygments import formatters, lexers
    except ImportError:
        import html

        return f"<pre>{html.escape(text)}</pre>"
    formatter = formatters.HtmlFormatter(noclasses=True)
    return pygments.highlight(text, lexers.PythonLexer(), formatter)


def peek(value: Any) -> Any:
    """Returns the value behind references; the reference itself if it has none."""
    if not isinstance(value, _reference.FieldReference):
        return value
    if _reference.is_required_unset(value):
        return value
    try:
        return value.get()
    except Exception:  # shown as the expression that it is; reading it raises
        return value


def find_shared(value: Any) -> dict[int, int]:
    """Returns id of object -> number, for nodes that occur more than once.

    Numbered in the order in which the second occurrences are met.
    """
    numbers: dict[int, int] = {}
    seen: dict[int, Any] = {}  # keeps computed nodes alive, so that ids stay unique
    pending = [value]
    while pending:
        node = peek(pending.pop())
        if isinstance(node, _config_dict.ConfigDict):
            if id(node) in seen:
                numbers.setdefault(id(node), len(numbers))
                continue
            seen[id(node)] = node
            pending.extend(reversed(node._fields.values()))
        elif isinstance(node, list | tuple):
            pending.extend(reversed(node))
    return numbers


def split_call(node: Any) -> tuple[list[Any], dict[Any, Any]]:
    """Returns positional and keyword arguments of a call node, references kept."""
    named = dict(node._fields)
    del named[_proxy.QUALNAME]
    positional: list[Any] = []
    while (key := str(len(positional))) in named:
        positional.append(named.pop(key))
    return positional, named


def is_argument_name(key: Any) -> bool:
    """Returns whether a key can be written as `key=value` in a call."""
    return isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)


class _Printer:
    """Makes the document of one config."""

    def __init__(self, value: Any):
        self.numbers = find_shared(value)
        self.printed: set[int] = set()

    def print(self, value: Any) -> _brackets.Doc:
        value = peek(value)
        if isinstance(value, _config_dict.ConfigDict):
            return self.print_node(value)
        if type(value) is list:
            return _brackets.Group("[", [self.print(v) for v in value], "]")
        if type(value) is tuple:
            items = [self.print(v) for v in value]
            return _brackets.Group("(", items, ")", is_one_tuple=len(value) == 1)
        if isinstance(value, _proxy.Proxy):
            return _qualname.shorten(value[_proxy.CONST])
        if isinstance(value, dict):
            return self.print_dict(value)
        if isinstance(value, str) and value == kontext.REQUIRED:
            return repr(kontext.REQUIRED)
        try:
            return repr(value)
        except Exception as error:  # somebody else's `__repr__`
            return f"<{type(value).__name__}: {_errors.short(error)}>"

    def print_node(self, node: Any) -> _brackets.Doc:
        number = self.numbers.get(id(node))
        if number is None:
            return self.print_content(node)
        if id(node) in self.printed:
            return f"*id{number + 1:03}"
        self.printed.add(id(node))
        return _brackets.prefixed(f"&id{number + 1:03} ", self.print_content(node))

    def print_content(self, node: Any) -> _brackets.Doc:
        fields = node._fields
        if _proxy.CONST in fields:
            return _qualname.shorten(str(fields[_proxy.CONST]))
        if _proxy.QUALNAME not in fields:
            return self.print_dict(fields)
        positional, named = split_call(node)
        items = [self.print(value) for value in positional]
        unnamed = {}
        for key, value in named.items():
            if is_argument_name(key):
                items.append(_brackets.prefixed(f"{key}=", self.print(value)))
            else:
                unnamed[key] = value
        if unnamed:
            items.append(_brackets.prefixed("**", self.print_dict(unnamed)))
        name = _qualname.shorten(str(fields[_proxy.QUALNAME]))
        return _brackets.Group(f"{name}(", items, ")")

    def print_dict(self, fields: dict[Any, Any]) -> _brackets.Doc:
        items = [
            _brackets.prefixed(f"{key!r}: ", self.print(value))
            for key, value in fields.items()
        ]
        return _brackets.Group("{", items, "}")
