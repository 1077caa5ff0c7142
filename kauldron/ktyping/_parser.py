"""The parser of shape specs.

spec   = { dim }                                   separated by spaces
dim    = "..." | variadic | single [ "?" ]
variadic = ( "*" | "+" ) [ "#" ] name | "*_" | "+_"
single = "#" ( name | integer ) | "_" [ name ] | expr { "|" expr }
expr   = the usual precedence of + - * / // % **, unary -, parentheses,
         min(…) max(…) sum(…) prod(…), integers, names, {python}
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

from kauldron.ktyping import _spec


class ShapeSpecError(ValueError):
    """The text is not a shape spec."""


class OperatorSpacingError(ShapeSpecError):
    """Spaces around an operator: `h / 2` for `h/2`."""


class StrayCommaError(ShapeSpecError):
    """Commas between dims: `h, w` for `h w`."""


class AnonymousDimError(ShapeSpecError):
    """An anonymous dim that cannot be one: `_4`, `_#a`, `#_a`."""


class ModifierOrderError(ShapeSpecError):
    """A modifier after the name: `b*` for `*b`."""


_NAME = re.compile(r"[^\W\d]\w*")
_INTEGER = re.compile(r"[0-9]+")
_OPERATOR = re.compile(r"\*\*|//|[-+*/%]")
_VARIADIC = re.compile(r"([*+])(#?)([^\W\d]\w*)")
_CAN_BE_OPTIONAL = (_spec.Name, _spec.Int, _spec.Anonymous, _spec.Broadcast)
_LONE_OPERATORS = frozenset(["+", "-", "*", "/", "//", "%", "**", "|", "#", "?"])


@functools.lru_cache(maxsize=8192)
def parse(text: str) -> _spec.Spec:
    """Returns the parsed spec; parsing the same text again costs nothing.

    Raises:
      ShapeSpecError: A `ValueError` that shows the dim and says what to write.
    """
    words = _split(text)
    return _spec.Spec(tuple(_DimParser(text, word).dim() for word in words))


def expand(spec: _spec.Spec, evaluate: Callable[[str], Any]) -> _spec.Spec:
    """Returns a spec with every `{code}` replaced by what it evaluates to."""
    dims: list[Any] = []
    for dim in spec.dims:
        if isinstance(dim, _spec.FString):
            value = evaluate(dim.code)
            if isinstance(value, tuple | list):
                value = " ".join(map(str, value))
            dims += parse(str(value)).dims
        else:
            has_code = _spec.has_fstring(dim)
            dims.append(_spec.substitute(dim, evaluate) if has_code else dim)
    return _spec.Spec(tuple(dims))


def _split(text: str) -> list[str]:
    """Splits at spaces that are not inside braces."""
    words: list[str] = []
    depth = 0
    current = ""
    for char in text:
        depth += (char == "{") - (char == "}")
        if char.isspace() and depth == 0:
            if current:
                words.append(current)
            current = ""
        else:
            current += char
    if current:
        words.append(current)
    return words


class _DimParser:
    """Parses one dim."""

    def __init__(self, spec_text: str, text: str):
        self.spec_text = spec_text
        self.text = text
        self.pos = 0

    def dim(self) -> Any:
        text = self.text
        self._refuse_common_mistakes()
        if text == "...":
            return _spec.Variadic(None)
        if match := _VARIADIC.fullmatch(text):
            star, sharp, name = match.groups()
            is_anonymous = name.startswith("_")
            if is_anonymous and sharp:
                self._fail(AnonymousDimError, "an anonymous dim cannot broadcast")
            return _spec.Variadic(
                None if is_anonymous else name, int(star == "+"), bool(sharp), text
            )
        if text.endswith("?"):
            self.text = text[:-1]
            inner = self._single()
            if not isinstance(inner, _CAN_BE_OPTIONAL):
                self._fail(ShapeSpecError, "only a name or a size can be optional")
            return _spec.OptionalDim(inner)
        return self._single()

    def _refuse_common_mistakes(self) -> None:
        text = self.text
        if text in _LONE_OPERATORS:
            self._fail(
                OperatorSpacingError, "no spaces around operators: write 'h/2', '*b'"
            )
        if text.startswith(",") or text.endswith(","):
            self._fail(StrayCommaError, "dims are separated by spaces, without commas")
        if re.match(r"_[0-9]", text):
            self._fail(
                AnonymousDimError, f"a size cannot be anonymous: write {text[1:]!r}"
            )
        if re.match(r"_[#*+]|#_", text):
            self._fail(AnonymousDimError, "an anonymous dim cannot broadcast")
        if match := re.fullmatch(r"([^\W\d]\w*)([*+#]+)", text):
            name, modifier = match.groups()
            self._fail(
                ModifierOrderError,
                f"the modifier comes first: write '{modifier}{name}'",
            )
        if text[-1] in "+-*/%|" or (text[0] in "/%|"):
            self._fail(
                OperatorSpacingError,
                "an operand is missing: no spaces around operators",
            )

    def _single(self) -> Any:
        if self._accept("#"):
            inner = self._atom()
            if not isinstance(inner, _spec.Name | _spec.Int):
                self._fail(ShapeSpecError, "'#' is followed by a name or a size")
            self._expect_end()
            return _spec.Broadcast(inner)
        if (match := _NAME.fullmatch(self.text)) and match[0].startswith("_"):
            return _spec.Anonymous(match[0])
        options = [self._expression(0)]
        while self._accept("|"):
            options.append(self._expression(0))
        self._expect_end()
        return options[0] if len(options) == 1 else _spec.Choice(tuple(options))

    def _expression(self, min_precedence: int) -> Any:
        """Precedence climbing."""
        if self._accept("-"):
            left: Any = _spec.Negative(self._expression(_spec.UNARY_PRECEDENCE))
        else:
            left = self._atom()
        while match := _OPERATOR.match(self.text, self.pos):
            op = match[0]
            precedence = _spec.PRECEDENCE[op]
            if precedence < min_precedence:
                break
            self.pos = match.end()
            right = self._expression(precedence + (op != "**"))
            left = _spec.Binary(op, left, right)
        return left

    def _atom(self) -> Any:
        if self._accept("("):
            inner = self._expression(0)
            if not self._accept(")"):
                self._fail(ShapeSpecError, "expected ')'")
            return inner
        if self._accept("{"):
            return self._fstring()
        if match := _INTEGER.match(self.text, self.pos):
            self.pos = match.end()
            return _spec.Int(int(match[0]))
        if match := _NAME.match(self.text, self.pos):
            self.pos = match.end()
            if match[0] in _spec.FUNCTIONS and self._accept("("):
                return _spec.Call(match[0], self._arguments())
            if match[0].startswith("_"):
                self._fail(AnonymousDimError, "an anonymous dim has no value")
            return _spec.Name(match[0])
        return self._fail(ShapeSpecError, "expected a name or a size")

    def _arguments(self) -> tuple[Any, ...]:
        args: list[Any] = []
        while not self._accept(")"):
            if args and not self._accept(","):
                self._fail(ShapeSpecError, "expected ',' or ')'")
            if match := _VARIADIC.match(self.text, self.pos):
                self.pos = match.end()
                args.append(_spec.Variadic(match[3], text=match[0]))
            else:
                args.append(self._expression(0))
        return tuple(args)

    def _fstring(self) -> Any:
        start, depth = self.pos, 1
        while self.pos < len(self.text) and depth:
            depth += (self.text[self.pos] == "{") - (self.text[self.pos] == "}")
            self.pos += 1
        if depth:
            self._fail(ShapeSpecError, "expected '}'")
        return _spec.FString(self.text[start : self.pos - 1])

    def _accept(self, token: str) -> bool:
        found = self.text.startswith(token, self.pos)
        self.pos += len(token) * found
        return found

    def _expect_end(self) -> None:
        if self.pos != len(self.text):
            self._fail(ShapeSpecError, f"unexpected {self.text[self.pos :]!r}")

    def _fail(self, cls: type[ShapeSpecError], reason: str) -> NoReturn:
        raise cls(
            f"In the shape spec {self.spec_text!r}, dim {self.text!r}: {reason} "
            f"(position {self.pos} of the dim)."
        )
