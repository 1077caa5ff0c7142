"""Configs as Python-like text."""

from __future__ import annotations

from typing import Any

from ml_collections import config_dict

from kauldron import kontext
from kauldron.konfig import _errors
from kauldron.konfig.names import _qualname
from kauldron.konfig.tree import _brackets, _nodes, _walk


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


class _Printer:
    """Makes the document of one config."""

    def __init__(self, value: Any):
        self.numbers = _walk.find_shared(value)
        self.printed: set[int] = set()

    def print(self, value: Any) -> _brackets.Doc:
        value = _nodes.peek(value)
        if isinstance(value, config_dict.ConfigDict):
            return self.print_node(value)
        if type(value) is list:
            return _brackets.Group("[", [self.print(v) for v in value], "]")
        if type(value) is tuple:
            items = [self.print(v) for v in value]
            return _brackets.Group("(", items, ")", is_one_tuple=len(value) == 1)
        if _nodes.is_stand_in(value):
            return _qualname.shorten(value[_qualname.CONST])
        if isinstance(value, dict):
            return self.print_dict(value)
        if isinstance(value, str) and value == kontext.REQUIRED:
            return repr(kontext.REQUIRED)
        try:
            return repr(value)
        except Exception as error:  # a third-party `__repr__`
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
        if _qualname.CONST in fields:
            return _qualname.shorten(str(fields[_qualname.CONST]))
        if _qualname.QUALNAME not in fields:
            return self.print_dict(fields)
        positional, named = _nodes.split_call(node)
        items = [self.print(value) for value in positional]
        unnamed = {}
        for key, value in named.items():
            if _nodes.is_argument_name(key):
                items.append(_brackets.prefixed(f"{key}=", self.print(value)))
            else:
                unnamed[key] = value
        if unnamed:
            items.append(_brackets.prefixed("**", self.print_dict(unnamed)))
        name = _qualname.shorten(str(fields[_qualname.QUALNAME]))
        return _brackets.Group(f"{name}(", items, ")")

    def print_dict(self, fields: dict[Any, Any]) -> _brackets.Doc:
        items = [
            _brackets.prefixed(f"{key!r}: ", self.print(value))
            for key, value in fields.items()
        ]
        return _brackets.Group("{", items, "}")
