"""Shape specs as data, and the arithmetic in them.

A spec is a sequence of dims. Most dims stand for one axis (`h`, `3`, `#h`, `3|4`, `h/2`),
some for any number (`*b`, `+b`, `...`) or for none or one (`c?`).

Everything here is immutable and prints as it is written: `str(parse(s)) == s`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# What is known of the dims: `{"h": 32, "*b": (8, 2)}`. See `_match` for more keys.
Assignment = Mapping[str, Any]


class UnknownDim(Exception):
    """Internal: an expression reads a dim that is not bound yet."""


class NoValue(Exception):
    """Internal: an expression has no integer value, as `3/2` or `1//0`."""


@dataclasses.dataclass(frozen=True)
class Int:
    """A fixed size: `3`."""

    value: int

    def __str__(self) -> str:
        return str(self.value)

    def evaluate(self, bound: Assignment) -> int:
        return self.value

    def unknown(self, bound: Assignment) -> list[str]:
        return []


@dataclasses.dataclass(frozen=True)
class Name:
    """A size with a name: `h`."""

    name: str

    def __str__(self) -> str:
        return self.name

    def evaluate(self, bound: Assignment) -> int:
        try:
            return bound[self.name]
        except KeyError:
            raise UnknownDim(self.name) from None

    def unknown(self, bound: Assignment) -> list[str]:
        return [] if self.name in bound else [self.name]


@dataclasses.dataclass(frozen=True)
class Anonymous:
    """Any size, not remembered: `_` or `_name`."""

    name: str = "_"

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True)
class Broadcast:
    """One, or the size of what is inside: `#h`, `#3`."""

    dim: Int | Name

    def __str__(self) -> str:
        return f"#{self.dim}"


@dataclasses.dataclass(frozen=True)
class OptionalDim:
    """An axis that may be absent: `c?`."""

    dim: Any

    def __str__(self) -> str:
        return f"{self.dim}?"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several: `3|4|c`."""

    options: tuple[Any, ...]

    def __str__(self) -> str:
        return "|".join(map(str, self.options))


@dataclasses.dataclass(frozen=True)
class Variadic:
    """Any number of axes: `*b`, `+b` (one or more), `*#b`, `...`, `*_`."""

    name: str | None
    min_len: int = 0
    is_broadcast: bool = False
    text: str = "..."

    def __str__(self) -> str:
        return self.text

    @property
    def key(self) -> str:
        """The name under which the axes are remembered; `+b` and `*b` are the same."""
        return f"*{self.name}"

    def evaluate(self, bound: Assignment) -> tuple[int, ...]:
        """Only within `sum(*b)` and its relatives."""
        if self.key in bound:
            return bound[self.key]
        raise UnknownDim(self.key)

    def unknown(self, bound: Assignment) -> list[str]:
        return [] if self.key in bound else [self.key]


@dataclasses.dataclass(frozen=True)
class FString:
    """Python evaluated with the arguments of the call: `{n}`, `{self.width}`."""

    code: str

    def __str__(self) -> str:
        return "{" + self.code + "}"

    def evaluate(self, bound: Assignment) -> int:
        raise UnknownDim(str(self))

    def unknown(self, bound: Assignment) -> list[str]:
        return [str(self)]


def _exact_div(a: int, b: int) -> int:
    if b == 0 or a % b:
        raise NoValue
    return a // b


def _guard_zero(op: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def guarded(a: int, b: int) -> int:
        try:
            return op(a, b)
        except ZeroDivisionError:
            raise NoValue from None

    return guarded


def _power(a: int, b: int) -> int:
    # No axis is longer than 2**64; `99**99**99` would not end.
    if b < 0 or (isinstance(a, int) and b * a.bit_length() > 128):
        raise NoValue
    return a**b


OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _exact_div,
    "//": _guard_zero(lambda a, b: a // b),
    "%": _guard_zero(lambda a, b: a % b),
    "**": _power,
}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}
UNARY_PRECEDENCE = 3
FUNCTIONS: dict[str, Callable[[list[int]], int]] = {
    "min": min,
    "max": max,
    "sum": sum,
    "prod": math.prod,
}


@dataclasses.dataclass(frozen=True)
class Binary:
    """`h/2`, `a+b`. `/` needs to come out even."""

    op: str
    left: Any
    right: Any

    def __str__(self) -> str:
        mine = PRECEDENCE[self.op]
        # `**` groups to the right, everything else to the left.
        left_tight = mine + (self.op == "**")
        right_tight = mine + (self.op != "**")
        left = _parenthesize(self.left, left_tight)
        return f"{left}{self.op}{_parenthesize(self.right, right_tight)}"

    def evaluate(self, bound: Assignment) -> int:
        left, right = self.left.evaluate(bound), self.right.evaluate(bound)
        return OPERATORS[self.op](left, right)

    def unknown(self, bound: Assignment) -> list[str]:
        return self.left.unknown(bound) + self.right.unknown(bound)


@dataclasses.dataclass(frozen=True)
class Negative:
    """`-a`."""

    operand: Any

    def __str__(self) -> str:
        return f"-{_parenthesize(self.operand, UNARY_PRECEDENCE)}"

    def evaluate(self, bound: Assignment) -> int:
        return -self.operand.evaluate(bound)

    def unknown(self, bound: Assignment) -> list[str]:
        return self.operand.unknown(bound)


@dataclasses.dataclass(frozen=True)
class Call:
    """`min(a,b)`, `prod(*b)`."""

    func: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.func}({','.join(map(str, self.args))})"

    def evaluate(self, bound: Assignment) -> int:
        values: list[int] = []
        for arg in self.args:
            value = arg.evaluate(bound)
            values.extend(value if isinstance(value, tuple) else (value,))
        try:
            return FUNCTIONS[self.func](values)
        except ValueError:  # the minimum of nothing
            raise NoValue from None

    def unknown(self, bound: Assignment) -> list[str]:
        return [name for arg in self.args for name in arg.unknown(bound)]


def _parenthesize(node: object, tightness: int) -> str:
    if isinstance(node, Binary):
        loose = PRECEDENCE[node.op] < tightness
    elif isinstance(node, Negative):
        loose = tightness > UNARY_PRECEDENCE
    else:
        loose = False
    return f"({node})" if loose else str(node)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A parsed shape spec.

    Attributes:
      dims: Its dims.
      min_rest: For every position, how few axes the dims from there on take.
      max_rest: For every position, how many at most; `None` is no limit.
    """

    dims: tuple[Any, ...]
    min_rest: tuple[int, ...] = dataclasses.field(init=False, compare=False)
    max_rest: tuple[int | None, ...] = dataclasses.field(init=False, compare=False)
    is_fixed: bool = dataclasses.field(init=False, compare=False)
    has_fstring: bool = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        min_rest: list[int] = [0]
        max_rest: list[int | None] = [0]
        for dim in reversed(self.dims):
            low, high = _num_axes(dim)
            min_rest.append(min_rest[-1] + low)
            most = max_rest[-1]
            max_rest.append(None if high is None or most is None else most + high)
        put = object.__setattr__
        put(self, "min_rest", tuple(reversed(min_rest)))
        put(self, "max_rest", tuple(reversed(max_rest)))
        put(self, "is_fixed", self.min_rest[0] == self.max_rest[0] == len(self.dims))
        put(self, "has_fstring", any(map(has_fstring, self.dims)))

    def __str__(self) -> str:
        return " ".join(map(str, self.dims))


def _num_axes(dim: object) -> tuple[int, int | None]:
    if isinstance(dim, Variadic):
        return dim.min_len, None
    if isinstance(dim, OptionalDim):
        return 0, 1
    return 1, 1


def _children(node: Any) -> Iterator[Any]:
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(child):
                yield child


def has_fstring(node: object) -> bool:
    return isinstance(node, FString) or any(map(has_fstring, _children(node)))


def substitute(node: Any, evaluate: Callable[[str], Any]) -> Any:
    if isinstance(node, FString):
        return Int(int(evaluate(node.code)))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, tuple):
            changes[field.name] = tuple(substitute(v, evaluate) for v in value)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = substitute(value, evaluate)
    return dataclasses.replace(node, **changes)
