"""Text of the command line to values: literals, JSON, and `py::` expressions."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import Any

from kauldron.konfig import _config_dict, _errors, _proxy, _qualname

PY_PREFIX = "py::"
_WORDS = {"true": True, "false": False, "null": None}


def parse(text: str) -> Any:
    """Returns the value that a text stands for; the text itself if it is no literal.

    Understood are Python literals, JSON, the words `true`, `false`, `null`, and Python
    calls and names behind `py::`.

    Raises:
      ConfigError: A `ValueError`: a `py::` expression that is none.
    """
    if text.startswith(PY_PREFIX):
        return parse_py(text[len(PY_PREFIX) :])
    stripped = text.strip()
    if stripped in _WORDS:
        return _WORDS[stripped]
    try:
        return ast.literal_eval(stripped)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    if stripped[:1] in ("{", "["):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            pass
    return text


def is_plain_text(text: str) -> bool:
    """Returns whether a text stands for itself."""
    try:
        return not looks_broken(text) and parse(text) is text
    except _errors.ConfigError:
        return False


def looks_broken(text: str) -> bool:
    """Returns whether a text starts like a dict or list but is none."""
    return text.strip()[:1] in ("{", "[") and isinstance(parse(text), str)


def describe_broken(text: str) -> str:
    """Returns what is wrong with a text that starts like a dict or list."""
    try:
        json.loads(text)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return "it is no literal"  # pragma: no cover: then it would not look broken


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
    """Replaces the colon of `package.module:Name`, which is no Python, by a name."""
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
    if isinstance(tree, ast.Attribute | ast.Name):
        return _config_dict.ConfigDict({_proxy.CONST: _to_qualname(tree)})
    if isinstance(tree, ast.Call):
        return _convert_call(tree)
    raise _errors.ConfigError(f"{_describe(tree)} is not allowed")


def _convert_call(tree: ast.Call) -> Any:
    node: dict[str, Any] = {_proxy.QUALNAME: _to_qualname(tree.func)}
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
    return _qualname.expand_alias(dotted)


def _describe(tree: ast.AST) -> str:
    try:
        return f"`{ast.unparse(tree)}`"
    except (ValueError, RecursionError):
        return type(tree).__name__
