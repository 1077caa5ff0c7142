"""Parsing of command-line values: literals, JSON, and `py::` expressions."""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from typing import Any

from kauldron.konfig import _errors
from kauldron.konfig.names import _named_objects, _qualname
from kauldron.konfig.tree import _config_dict

PY_PREFIX = "py::"
_WORDS = {"true": True, "false": False, "null": None}
# Names that stand for numbers, as `repr` and JSON write them.
_NUMBERS = {
    "inf": math.inf,
    "Infinity": math.inf,
    "nan": math.nan,
    "NaN": math.nan,
}
_FLOAT_WORD = re.compile(r"(?i)[-+]?(inf|infinity|nan)")
_ERRORS = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def parse(text: str) -> Any:
    """Returns the value that a text stands for; the text itself if it is not a literal.

    Understood are Python literals, with `inf` and `nan`; JSON; the words `true`,
    `false`, `null`, and those that `float` reads; and Python calls and names behind
    `py::`.

    Raises:
      ConfigError: A `ValueError`: a `py::` expression that is none.
    """
    if text.startswith(PY_PREFIX):
        return parse_py(text[len(PY_PREFIX) :])
    stripped = text.strip()
    if stripped in _WORDS:
        return _WORDS[stripped]
    if _FLOAT_WORD.fullmatch(stripped):
        return float(stripped)
    try:
        return ast.literal_eval(_NameWords().visit(ast.parse(stripped, mode="eval")))
    except _ERRORS:
        pass
    if stripped[:1] in ("{", "["):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            pass
    return text


class _NameWords(ast.NodeTransformer):
    """Replaces the names that stand for a number."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NUMBERS[node.id]) if node.id in _NUMBERS else node


def is_plain_text(text: str) -> bool:
    """Returns whether a text stands for itself."""
    try:
        return not looks_broken(text) and parse(text) is text
    except _errors.ConfigError:
        return False


def is_quoted(text: str) -> bool:
    """Returns whether a text is written as a Python string."""
    return text.strip()[:1] in ("'", '"')


def looks_broken(text: str) -> bool:
    """Returns whether a text starts like a list, dict, or quoted text, but is none.

    `(draft) one` is text: its brackets are in order.
    """
    start = text.strip()[:1]
    if start not in ("{", "[", "(", "'", '"') or not isinstance(parse(text), str):
        return False
    if start in ("{", "["):
        return True
    return parse(text) is text and bool(_find_unbalanced(text))


def describe_broken(text: str) -> str:
    """Returns what is wrong with a text for which `looks_broken` is true."""
    if unbalanced := _find_unbalanced(text):
        return unbalanced
    if words := _BARE_WORDS.fullmatch(text.strip()):
        items = [word.strip() for word in words[1].split(",") if word.strip()]
        quoted = ", ".join(map(repr, items))
        return f"texts in it need quotes, `[{quoted}]`"
    if PY_PREFIX in text:
        whole = PY_PREFIX + text.replace(PY_PREFIX, "")
        shown = whole if len(whole) < 80 else f"{PY_PREFIX}..."
        return f"`{PY_PREFIX}` stands before the whole value, `{shown}`"
    try:
        json.loads(text)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return "it is no literal"  # pragma: no cover: then it would not look broken


_BARE_WORDS = re.compile(r"\[((?:\s*[A-Za-z_][\w./-]*\s*,?)+)\]")
_CLOSING = {"[": "]", "(": ")", "{": "}"}


def _find_unbalanced(text: str) -> str:
    """Returns which bracket or quote is missing, or one too many; empty if none is."""
    expected: list[str] = []
    quote = ""
    is_escaped = False
    for char in text:
        if quote:
            if char == quote and not is_escaped:
                quote = ""
            is_escaped = char == "\\" and not is_escaped
        elif char in ("'", '"'):
            quote = char
        elif char in _CLOSING:
            expected.append(_CLOSING[char])
        elif char in _CLOSING.values():
            if not expected:
                return f"the `{char}` closes nothing"
            if char != expected[-1]:
                return f"the `{expected[-1]}` is missing before the `{char}`"
            expected.pop()
    if quote:
        return f"the closing quote `{quote}` is missing"
    if expected:
        missing = "".join(reversed(expected))
        shown = missing if len(missing) <= 8 else f"{missing[:8]}…"
        return f"the `{shown}` at the end is missing"
    return ""


def parse_py(expression: str) -> Any:
    """Returns the value of a `py::` expression: `optax.adam(learning_rate=1e-3)`.

    Calls become nodes, dotted names constants. Nothing is imported.

    Raises:
      ConfigError: A `ValueError`: `Invalid py:: expression`.
    """
    try:
        tree = ast.parse(_mark_colons(expression.strip()), mode="eval")
        return _convert(tree.body)
    except _errors.ConfigError as error:
        reason = str(error)
    except SyntaxError as error:
        reason = error.msg
    except (ValueError, MemoryError, RecursionError, tokenize.TokenError) as error:
        reason = str(error) or type(error).__name__
    raise _errors.ConfigError(
        f"Invalid py:: expression {_errors.short(expression)}: {reason}. Allowed are "
        "calls, dotted names, lists, tuples, dicts, numbers, and strings, such as "
        "`py::optax.adam(learning_rate=1e-3)`."
    )


_COLON = "__konfig_colon__"


def _mark_colons(text: str) -> str:
    """Replaces the colon of `package.module:Name`, which is not Python, by a name."""
    if ":" not in text:
        return text
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines = text.splitlines(keepends=True)
    for i in range(len(tokens) - 2, 0, -1):
        before, colon, after = tokens[i - 1 : i + 2]
        if colon.string != ":" or colon.type != tokenize.OP:
            continue
        are_names = before.type == after.type == tokenize.NAME
        if are_names and before.end == colon.start and colon.end == after.start:
            row, column = colon.start
            line = lines[row - 1]
            lines[row - 1] = f"{line[:column]}.{_COLON}.{line[column + 1 :]}"
    return "".join(lines)


def _convert(tree: ast.expr) -> Any:
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        value = _convert(tree.operand)
        if isinstance(value, int | float | complex) and not isinstance(value, bool):
            return -value if isinstance(tree.op, ast.USub) else value
    if isinstance(tree, ast.List):
        return [_convert(item) for item in tree.elts]
    if isinstance(tree, ast.Tuple):
        return tuple(_convert(item) for item in tree.elts)
    if isinstance(tree, ast.Dict) and None not in tree.keys:
        keys = [_convert(key) for key in tree.keys if key is not None]
        return dict(zip(keys, map(_convert, tree.values), strict=True))
    if isinstance(tree, ast.Name) and tree.id in _NUMBERS:
        return _NUMBERS[tree.id]
    if isinstance(tree, ast.Attribute | ast.Name):
        return _config_dict.ConfigDict({_qualname.CONST: _to_qualname(tree)})
    if isinstance(tree, ast.Call):
        return _convert_call(tree)
    raise _errors.ConfigError(f"{_describe(tree)} is not allowed")


def _convert_call(tree: ast.Call) -> Any:
    node: dict[str, Any] = {_qualname.QUALNAME: _to_qualname(tree.func)}
    for i, arg in enumerate(tree.args):
        node[str(i)] = _convert(arg)
    for keyword in tree.keywords:
        if keyword.arg is None:
            raise _errors.ConfigError("`**` is not allowed")
        node[keyword.arg] = _convert(keyword.value)
    return _config_dict.ConfigDict(node)


def _to_qualname(tree: ast.expr) -> str:
    names: list[str] = []
    while isinstance(tree, ast.Attribute):
        names.append(tree.attr)
        tree = tree.value
    if not isinstance(tree, ast.Name):
        raise _errors.ConfigError(f"{_describe(tree)} is not a dotted name")
    dotted = ".".join((tree.id, *reversed(names)))
    if dotted.count(_COLON) > 1:
        raise _errors.ConfigError("a name has one colon at most")
    if _COLON in dotted:
        return dotted.replace(f".{_COLON}.", ":")
    if not names:
        raise _errors.ConfigError(
            f"{tree.id!r} is a single name; write `module.name` (`builtins.{tree.id}`)"
        )
    return _named_objects.expand_alias(dotted)


def _describe(tree: ast.AST) -> str:
    try:
        return f"`{ast.unparse(tree)}`"
    except (ValueError, RecursionError):
        return type(tree).__name__
