"""The grammar of paths: parsing and formatting.

A path is a sequence of *parts*: strings (attributes and string keys), other literals
(item keys), slices and tuples (array indices), and wildcards:

    path     = [ step { "." step | "[" item "]" } ]       "" is the root
    step     = identifier | integer | "*" | "**"
    item     = element { "," element } [ "," ]            a comma makes a tuple
    element  = value | [value] ":" [value] [ ":" [value] ] | "..."
    value    = number | string | "True" | "False" | "None" | "(" [item] ")"

`parse` and `format_parts` are inverse to each other: `parse(format_parts(p)) == p`.
"""

from __future__ import annotations

import ast
import enum
import functools
import re
from typing import Any, NoReturn

from kauldron._base import errors

Parts = tuple[Any, ...]


class PathSyntaxError(errors.UserError, ValueError):
    """The text is not a path."""


class Wildcard(enum.Enum):
    """A part that matches many keys; only `GlobPath` may hold it."""

    STAR = "*"  # exactly one level
    DOUBLE_STAR = "**"  # zero or more levels

    def __repr__(self) -> str:
        return self.value


_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_DIGITS = re.compile(r"[0-9]+")
_SPACE = re.compile(r"\s*")
_REAL = r"(?:(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?|inf|nan)"
_COMPLEX = re.compile(
    rf"\(\s*[-+]?{_REAL}\s*[-+]\s*{_REAL}[jJ]\s*\)|[-+]?(?:{_REAL}[-+])?{_REAL}[jJ]"
)
_INTEGER = re.compile(
    r"[-+]?(?:0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[0-9][0-9_]*)"
)
_FLOAT = re.compile(rf"[-+]?{_REAL}")
_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_CONSTANTS = {"True": True, "False": False, "None": None, "Ellipsis": ...}
_NOTHING = object()


@functools.lru_cache(maxsize=16_384)
def parse(text: str) -> Parts:
    """Returns the parts of a path.

    Raises:
      PathSyntaxError: If the text does not follow the grammar; names the position.
    """
    return _Parser(text).path()


def format_parts(parts: Parts) -> str:
    """Returns the canonical text of the parts."""
    text = ""
    for part in parts:
        if isinstance(part, Wildcard):
            text += f".{part.value}" if text else part.value
        elif type(part) is str and _IDENTIFIER.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{_format_item(part)}]"
    return text


def _format_item(part: Any) -> str:
    is_index = type(part) is tuple and any(
        isinstance(p, slice) or p is ... for p in part
    )
    if is_index and len(part) > 1:
        return ",".join(_format_element(p) for p in part)
    return _format_element(part)


def _format_element(part: object) -> str:
    if part is ...:
        return "..."
    if isinstance(part, slice):
        start, stop, step = (
            "" if p is None else _format_element(p)
            for p in (part.start, part.stop, part.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    if type(part) is tuple:
        inner = ", ".join(_format_element(p) for p in part)
        return f"({inner},)" if len(part) == 1 else f"({inner})"
    return repr(part)


class _Parser:
    """One pass over the text, no backtracking beyond a token."""

    def __init__(self, text: str):
        self.text = text
        self.pos = 0

    def path(self) -> Parts:
        parts: list[Any] = []
        self._skip_space()
        while self.pos < len(self.text):
            if self._accept("["):
                parts.append(self._item("]"))
            elif not parts or self._accept("."):
                parts.append(self._step())
            else:
                self._fail("expected '.' or '['")
            self._skip_space()
        return tuple(parts)

    def _step(self) -> Any:
        if self._accept("**"):
            return Wildcard.DOUBLE_STAR
        if self._accept("*"):
            return Wildcard.STAR
        if (name := self._match(_IDENTIFIER)) is not None:
            return name
        if (digits := self._match(_DIGITS)) is not None:
            return int(digits)
        return self._fail("expected a name")

    def _item(self, closing: str) -> Any:
        """Parses up to and with `closing`; a comma makes the item a tuple."""
        elements: list[Any] = []
        is_tuple = False
        while not self._accept(closing):
            if elements and not is_tuple:
                self._fail(f"expected ',' or {closing!r}")
            elements.append(self._element())
            if self._accept(","):
                is_tuple = True
            elif is_tuple and not self._peek(closing):
                self._fail(f"expected ',' or {closing!r}")
        if is_tuple or (closing == ")" and not elements):
            return tuple(elements)
        if not elements:
            self._fail("nothing between the brackets")
        return elements[0]

    def _element(self) -> Any:
        if self._accept("..."):
            return ...
        bounds: list[Any] = [None]
        if not self._peek(":"):
            bounds[0] = self._value()
        if not self._peek(":"):
            return bounds[0]
        while len(bounds) < 3 and self._accept(":"):
            at_end = any(self._peek(c) for c in ":,])")
            bounds.append(None if at_end else self._value())
        return slice(*bounds)

    def _value(self) -> Any:
        for pattern, convert in (
            (_COMPLEX, _to_complex),
            (_STRING, ast.literal_eval),
            (_FLOAT, None),
        ):
            start = self.pos
            if (token := self._match(pattern)) is None:
                continue
            if convert is not None:
                return convert(token)
            self.pos = start
            return self._real()
        if self._accept("("):
            return self._item(")")
        name = self._match(_IDENTIFIER)
        value = _CONSTANTS.get(name, _NOTHING) if name else _NOTHING
        if value is _NOTHING:
            hint = f". A string key needs quotes: [{name!r}]" if name else ""
            self._fail(f"expected a literal{hint}")
        return value

    def _real(self) -> int | float:
        """An integer if that reads further than a float does."""
        self._skip_space()
        integer = _INTEGER.match(self.text, self.pos)
        real = _FLOAT.match(self.text, self.pos)
        token = max(filter(None, (integer, real)), key=lambda m: m.end())
        try:
            if integer is not None and integer.end() == token.end():
                value: int | float = int(integer[0], 0)
            else:
                value = float(token[0])
        except ValueError:
            self._fail(f"{token[0]!r} is not a number")
        self.pos = token.end()
        return value

    def _skip_space(self) -> None:
        if space := _SPACE.match(self.text, self.pos):
            self.pos = space.end()

    def _match(self, pattern: re.Pattern[str]) -> str | None:
        self._skip_space()
        match = pattern.match(self.text, self.pos)
        if match is None:
            return None
        if pattern is _FLOAT or pattern is _COMPLEX:
            rest = self.text[match.end() : match.end() + 1]
            # `infix` and `nano` are names, `inf` and `nan` are numbers.
            if match[0][-1].isalpha() and (rest.isalnum() or rest == "_"):
                return None
        self.pos = match.end()
        return match[0]

    def _peek(self, token: str) -> bool:
        self._skip_space()
        return self.text.startswith(token, self.pos)

    def _accept(self, token: str) -> bool:
        if not self._peek(token):
            return False
        self.pos += len(token)
        return True

    def _fail(self, reason: str) -> NoReturn:
        seen = self.text[self.pos : self.pos + 12]
        at = f"at {seen!r} (position {self.pos})" if seen else "at the end"
        raise PathSyntaxError(
            f"Could not parse the path {self.text!r}: {reason} {at}. "
            'A path looks like "batch.image", "a[\'b c\'][0].d" or "x[..., :3]".'
        )


def _to_complex(token: str) -> complex:
    return complex(re.sub(r"\s", "", token))
