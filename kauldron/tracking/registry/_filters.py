"""The language of filters: `eval.accuracy > 0.9 and not status in ('failed')`.

    filter     := both ('or' both)*
    both       := one ('and' one)*
    one        := 'not' one | '(' filter ')' | comparison
    comparison := NAME OPERATOR value | value OPERATOR NAME
                | NAME ['not'] 'in' '(' value (',' value)* ')' | value ['not'] 'in' NAME
    value      := number | 'text' | true | false | none
    OPERATOR   := < | <= | > | >= | == | != | ~

`~` finds a regular expression in a text. A text is parsed, never evaluated.
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple, NoReturn, TypeAlias

from kauldron.tracking.registry.errors import RegistryError

Value: TypeAlias = bool | float | str | None

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_WORDS = {"true": True, "false": False, "none": None}
_KEYWORDS = ("and", "or", "not", "in")
# What people write who know another language.
_MEANT = {"=": "==", "&&": "and", "||": "or", "&": "and", "|": "or", "<>": "!="}
_MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<quoted>`[^`]+`)
    | (?P<name>[A-Za-z_]\w*(?:[./]\w+|\[\w+\])*)
    | (?P<operator><=|>=|==|!=|<>|&&|\|\||[<>~=&|(),])
    )""",
    re.VERBOSE,
)


class FilterError(RegistryError):
    """A filter that cannot be understood, or that names what no run has."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A name in a filter.

    Attributes:
      text: The name.
      start: Position of its first character.
    """

    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A name compared with a value."""

    name: Name
    operator: str
    value: Value


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A name whose value is one of several."""

    name: Name
    values: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Has:
    """A name of words, or a text, that has a word in it."""

    name: Name
    word: str


@dataclasses.dataclass(frozen=True)
class Not:
    """The opposite."""

    inner: Filter


@dataclasses.dataclass(frozen=True)
class AllOf:
    """Each of several filters holds."""

    parts: tuple[Filter, ...]


@dataclasses.dataclass(frozen=True)
class AnyOf:
    """At least one of several filters holds."""

    parts: tuple[Filter, ...]


Filter: TypeAlias = Comparison | OneOf | Has | Not | AllOf | AnyOf


class _Token(NamedTuple):
    kind: str  # number, text, name, operator, keyword, constant, end
    text: str
    start: int


def parse(text: str) -> Filter:
    """Returns what a filter says.

    Raises:
      FilterError: If it cannot be understood; says where, and what was expected.
    """
    return _Parser(text).parse()


def fail(text: str, start: int, end: int, problem: str) -> NoReturn:
    """Raises a `FilterError` that shows a part of a filter."""
    line = text.replace("\n", " ").replace("\t", " ")
    marks = " " * start + "^" * max(1, end - start)
    raise FilterError(f"{problem}\n  {line}\n  {marks}")


def names_in(node: Filter) -> list[str]:
    """Returns the names of a filter, in order."""
    if isinstance(node, AllOf | AnyOf):
        return [name for part in node.parts for name in names_in(part)]
    if isinstance(node, Not):
        return names_in(node.inner)
    return [node.name.text]


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split(text)
        self._next = 0
        self._depth = 0

    def parse(self) -> Filter:
        if self._peek.kind == "end":
            raise FilterError(
                "The filter is empty: write for instance `eval.accuracy > 0.9`."
            )
        node = self._any()
        if self._peek.kind != "end":
            if self._peek.text in _FLIPPED:
                self._fail("A comparison has two sides: join two of them by `and`.")
            self._fail("Expected `and`, `or`, or the end")
        return node

    def _split(self, text: str) -> list[_Token]:
        tokens, position = [], 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                if text[start] in "'\"`":
                    fail(
                        text,
                        start,
                        end,
                        f"A text begins here and has no end ({text[start]}).",
                    )
                fail(text, start, start + 1, f"Unexpected {text[start]!r}.")
            kind = str(match.lastgroup)
            found = match[kind]
            tokens.append(self._token(kind, found, match.start(kind)))
            position = match.end()
        return [*tokens, _Token("end", "the end", end)]

    def _token(self, kind: str, found: str, start: int) -> _Token:
        if kind == "quoted":
            return _Token("name", found[1:-1], start)
        if kind == "name" and found.lower() in _KEYWORDS:
            return _Token("keyword", found.lower(), start)
        if kind == "name" and found.lower() in _WORDS:
            return _Token("constant", found.lower(), start)
        if found in _MEANT:
            where = start, start + len(found)
            fail(self._text, *where, f"Write `{_MEANT[found]}` instead of `{found}`.")
        return _Token(kind, found, start)

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _takes(self, text: str) -> bool:
        if self._peek.kind in ("keyword", "operator") and self._peek.text == text:
            self._take()
            return True
        return False

    def _fail(self, problem: str) -> NoReturn:
        token = self._peek
        end = token.start if token.kind == "end" else token.start + len(token.text)
        if not problem.endswith("."):
            found = token.text if token.kind == "end" else f"`{token.text}`"
            problem += f" at character {token.start + 1}, found {found}."
        fail(self._text, token.start, end, problem)

    def _any(self) -> Filter:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self) -> Filter:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self) -> Filter:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(
                f"More than {_MAX_DEPTH} parentheses and `not` inside each other."
            )
        try:
            if self._takes("not"):
                return Not(self._one())
            if self._takes("("):
                node = self._any()
                if not self._takes(")"):
                    self._fail("Expected `)`")
                return node
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Filter:
        if self._peek.kind != "name":
            return self._value_first()
        name = self._name()
        is_not = self._takes("not")
        if self._takes("in"):
            node = OneOf(name, self._values())
            return Not(node) if is_not else node
        if is_not:
            self._fail("Expected `in`")
        operator = self._operator()
        if self._peek.kind == "name":
            self._fail(
                "A name is compared with a number, a 'text', true, false or none; "
                "texts stand in quotes."
            )
        return self._check(Comparison(name, operator, self._value()))

    def _value_first(self) -> Filter:
        start = self._peek
        value = self._value()
        is_not = self._takes("not")
        if self._takes("in"):
            if not isinstance(value, str):
                fail(
                    self._text,
                    start.start,
                    start.start + len(start.text),
                    "Only a 'text' can be in something, such as `'old' in tags`.",
                )
            node = Has(self._name(), value)
            return Not(node) if is_not else node
        operator = self._operator()
        if operator not in _FLIPPED:
            self._fail("On the left of `~` stands a name.")
        return self._check(Comparison(self._name(), _FLIPPED[operator], value))

    def _check(self, node: Comparison) -> Comparison:
        """Finds comparisons that mean nothing."""
        start, end = node.name.start, node.name.start + len(node.name.text)
        if node.operator == "~":
            if not isinstance(node.value, str):
                fail(self._text, start, end, "`~` is followed by a 'text'.")
            try:
                re.compile(node.value)
            except re.error as e:
                fail(self._text, start, end, f"{node.value!r} is no expression: {e}.")
        elif node.operator not in ("==", "!=") and (
            node.value is None or isinstance(node.value, bool)
        ):
            word = next(w for w, value in _WORDS.items() if value is node.value)
            fail(
                self._text, start, end, f"`{word}` is compared by `==` and `!=` alone."
            )
        return node

    def _name(self) -> Name:
        if self._peek.kind != "name":
            self._fail("Expected a name, such as `eval.accuracy`,")
        token = self._take()
        return Name(token.text, token.start)

    def _operator(self) -> str:
        if self._peek.kind != "operator" or self._peek.text not in (*_FLIPPED, "~"):
            self._fail("Expected <, <=, >, >=, ==, !=, ~ or in")
        return self._take().text

    def _values(self) -> tuple[Value, ...]:
        if not self._takes("("):
            self._fail("Expected `(` and values after `in`")
        values = [self._value()]
        while self._takes(","):
            if self._peek.text != ")":
                values.append(self._value())
        if not self._takes(")"):
            self._fail("Expected `,` or `)`")
        return tuple(values)

    def _value(self) -> Value:
        token = self._peek
        if token.kind == "number":
            return float(self._take().text)
        if token.kind == "constant":
            return _WORDS[self._take().text]
        if token.kind == "text":
            return re.sub(r"\\(.)", r"\1", self._take().text[1:-1])
        self._fail("Expected a name or a value")
        return None
