"""How text of the command line becomes a value: types of fields x literals.

The expected values are written by hand; `docs/overrides.md` has the rules.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import math
import os
import pathlib
import sys
import types
import typing
from typing import Any, Literal

import pytest

from kauldron import konfig

INF = math.inf
NAN = math.nan
REFUSED = object()


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Fruit(enum.StrEnum):
    APPLE = "apple"


@dataclasses.dataclass(frozen=True)
class Record:
    size: int = 1


class Anything:
    pass


def const(name):
    return konfig.ConfigDict({"__const__": f"{__name__}:{name}"})


def read(annotation: Any, text: str, **current: Any) -> Any:
    """Returns what `--cfg.call.x=text` sets where an argument has the annotation."""

    def target(x=None):
        return x

    target.__annotations__ = {} if annotation is None else {"x": annotation}
    module = types.ModuleType("konfig_coercion_target")
    vars(module)["target"] = target
    sys.modules[module.__name__] = module
    node = {"__qualname__": "konfig_coercion_target:target", **current}
    cfg = konfig.ConfigDict({"call": node})
    try:
        konfig.apply_overrides(cfg, konfig.parse_overrides([f"--cfg.call.x={text}"]))
    except konfig.ConfigTypeError as error:
        assert str(error).startswith(f"--cfg.call.x={text}: "[:60])
        return REFUSED
    finally:
        del sys.modules[module.__name__]
    return cfg.call.x


def assert_same(found: Any, expected: Any) -> None:
    if expected is REFUSED or found is REFUSED:
        assert found is expected
        return
    assert type(found) is type(expected)
    if isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert_same(x, y)
    else:
        assert found == expected


LITERALS = {
    # text: untyped, int, float, bool, str
    "5": (5, 5, 5.0, REFUSED, "5"),
    "1": (1, 1, 1.0, True, "1"),
    "0": (0, 0, 0.0, False, "0"),
    "-3": (-3, -3, -3.0, REFUSED, "-3"),
    "+3": (3, 3, 3.0, REFUSED, "+3"),
    "1_000": (1000, 1000, 1000.0, REFUSED, "1_000"),
    "0x10": (16, 16, 16.0, REFUSED, "0x10"),
    "1.0": (1.0, 1, 1.0, REFUSED, "1.0"),
    ".5": (0.5, REFUSED, 0.5, REFUSED, ".5"),
    "2.": (2.0, 2, 2.0, REFUSED, "2."),
    "1e3": (1000.0, 1000, 1000.0, REFUSED, "1e3"),
    "1e-3": (0.001, REFUSED, 0.001, REFUSED, "1e-3"),
    "1E5": (100000.0, 100000, 100000.0, REFUSED, "1E5"),
    "1e400": (INF, REFUSED, INF, REFUSED, "1e400"),
    "-1e400": (-INF, REFUSED, -INF, REFUSED, "-1e400"),
    "inf": (INF, REFUSED, INF, REFUSED, "inf"),
    "-inf": (-INF, REFUSED, -INF, REFUSED, "-inf"),
    "+inf": (INF, REFUSED, INF, REFUSED, "+inf"),
    "Infinity": (INF, REFUSED, INF, REFUSED, "Infinity"),
    "-Infinity": (-INF, REFUSED, -INF, REFUSED, "-Infinity"),
    # As `float` reads them, in any case.
    "Inf": (INF, REFUSED, INF, REFUSED, "Inf"),
    "infinity": (INF, REFUSED, INF, REFUSED, "infinity"),
    "-INFINITY": (-INF, REFUSED, -INF, REFUSED, "-INFINITY"),
    "NAN": (NAN, REFUSED, NAN, REFUSED, "NAN"),
    "nan": (NAN, REFUSED, NAN, REFUSED, "nan"),
    "NaN": (NAN, REFUSED, NAN, REFUSED, "NaN"),
    "true": (True, REFUSED, REFUSED, True, "true"),
    "False": (False, REFUSED, REFUSED, False, "False"),
    "None": (None, None, None, None, None),
    "null": (None, None, None, None, None),
    "abc": ("abc", REFUSED, REFUSED, REFUSED, "abc"),
    "infix": ("infix", REFUSED, REFUSED, REFUSED, "infix"),
    "nano": ("nano", REFUSED, REFUSED, REFUSED, "nano"),
    "007": ("007", REFUSED, REFUSED, REFUSED, "007"),
    "'5'": ("5", REFUSED, REFUSED, REFUSED, "5"),
    "'None'": ("None", REFUSED, REFUSED, REFUSED, "None"),
    "'inf'": ("inf", REFUSED, REFUSED, REFUSED, "inf"),
    "a=b": ("a=b", REFUSED, REFUSED, REFUSED, "a=b"),
    "1,2": ((1, 2), REFUSED, REFUSED, REFUSED, "1,2"),
    "[1, 2]": ([1, 2], REFUSED, REFUSED, REFUSED, "[1, 2]"),
    "[inf, -inf]": ([INF, -INF], REFUSED, REFUSED, REFUSED, "[inf, -inf]"),
    "(draft) one": ("(draft) one", REFUSED, REFUSED, REFUSED, "(draft) one"),
}
_SCALARS = [(t, i, row[i]) for t, row in LITERALS.items() for i in range(5)]
_TYPES = (None, int, float, bool, str)


@pytest.mark.parametrize(("text", "i", "expected"), _SCALARS)
def test_literal_for_an_argument_that_is_not_set(text, i, expected):
    assert_same(read(_TYPES[i], text), expected)


@pytest.mark.parametrize(("text", "i", "expected"), _SCALARS)
def test_literal_for_a_field_that_is_none_or_has_a_value(text, i, expected):
    """The type of the value decides where there is no annotation, in the same way."""
    current = (None, 7, 7.0, True, "x")[i]
    assert_same(read(None, text, x=current), expected)


@pytest.mark.parametrize(("text", "i", "expected"), _SCALARS)
def test_literal_for_an_optional(text, i, expected):
    if i:
        assert_same(read(_TYPES[i] | None, text), expected)


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        # A union takes the type that the literal has, then one it converts to, then text.
        (int | str, "5", 5),
        (int | str, "1e3", 1000),
        (int | str, "1.5", "1.5"),
        (int | str, "abc", "abc"),
        (int | str, "inf", "inf"),
        (int | str, "'5'", "5"),
        (str | int, "5", 5),
        (str | int, "1e3", 1000),
        # `str` takes the text before a class that may be made of anything.
        (Anything | str, "5", "5"),
        (str | Anything, "5", "5"),
        (Anything | str | None, "[1]", [1]),
        (float | str, "5", 5.0),
        (float | str, "inf", INF),
        (float | str, "nano", "nano"),
        (int | float, "5", 5),
        (int | float, "5.0", 5.0),
        (int | float, "1e3", 1000.0),
        (float | int, "5", 5),
        (int | float, "inf", INF),
        (int | float, "abc", REFUSED),
        (bool | int, "1", 1),
        (bool | str, "true", True),
        (bool | str, "yes", "yes"),
        (bool | float, "0.5", 0.5),
        (typing.Optional[int], "none", REFUSED),  # noqa: UP045
        (typing.Union[int, str, None], "x", "x"),  # noqa: UP007
        (typing.Annotated[int, "unit"], "1e2", 100),
        (typing.NewType("Step", int), "1e2", 100),
        # Literals: by value and type, by text, as the same number.
        (Literal["a", "b"], "b", "b"),
        (Literal["a", "b"], "'b'", "b"),
        (Literal["a", "b"], "c", REFUSED),
        (Literal[1, 2], "2", 2),
        (Literal[1, 2], "2.0", 2),
        (Literal["1", "2"], "2", "2"),
        (Literal[0.5, 1.0], "1", 1.0),
        (Literal[0, 1], "true", REFUSED),
        (Literal[True, "auto"], "true", True),
        (Literal[True, "auto"], "1", REFUSED),
        (Literal["auto"] | int, "auto", "auto"),
        (Literal["auto"] | int, "1e2", 100),
        (Literal["auto"] | int, "manual", REFUSED),
        (Literal["inf", "nan"], "inf", "inf"),
        # Enums: by name, then by value.
        (Color, "RED", const("Color.RED")),
        (Color, "red", const("Color.RED")),
        (Color, "2", const("Color.BLUE")),
        (Color, "GREEN", REFUSED),
        (Color | None, "None", None),
        (Fruit, "apple", const("Fruit.APPLE")),
        # Paths are texts.
        (pathlib.Path, "runs/a", "runs/a"),
        (pathlib.Path, "5", "5"),
        (str | os.PathLike, "inf", "inf"),
        (pathlib.Path | None, "null", None),
        (os.PathLike[str], "'a b'", "a b"),
        # Sequences, with the types of their items.
        (tuple[int, ...], "3", REFUSED),
        (tuple[int, ...], "(3,)", (3,)),
        (tuple[int, ...], "[3, 4]", (3, 4)),
        (tuple[int, ...], "3, 4", (3, 4)),
        (tuple[int, ...], "()", ()),
        (tuple[int, ...], "[1.5]", REFUSED),
        (tuple[int, ...], "[2.0]", (2,)),
        (tuple[int, ...], "['a']", REFUSED),
        (tuple[int, ...], "abc", REFUSED),
        (tuple[int, ...], "None", None),
        (tuple[int, int], "1,2", (1, 2)),
        (tuple[int, int], "1,2,3", REFUSED),
        (tuple[int, str], "[1, 'a']", (1, "a")),
        (tuple[()], "[]", ()),
        (tuple[()], "[1]", REFUSED),
        (tuple, "[1, 'a']", (1, "a")),
        (list[float], "[1, 2]", [1.0, 2.0]),
        (list[float], "(1, inf)", [1.0, INF]),
        (list[str], "['a', 'b']", ["a", "b"]),
        (list[str], "[1]", REFUSED),
        (list[int] | None, "3", REFUSED),
        (int | list[int], "3", 3),
        (int | list[int], "[3]", [3]),
        (int | tuple[int, ...], "[3]", (3,)),
        (tuple[int, int, int], "(1, 2)", REFUSED),
        (tuple[int, int, int], "()", REFUSED),
        (tuple[int, int, int], "(1, 2, 3, 4)", REFUSED),
        (tuple[int, str] | str, "(1,)", "(1,)"),
        (tuple[int, ...] | tuple[str, str], "('a',)", REFUSED),
        # Of two sequences, the one that is written.
        (list[int] | tuple[int, ...], "[1, 2]", [1, 2]),
        (list[int] | tuple[int, ...], "(1, 2)", (1, 2)),
        (tuple[int, ...] | list[int], "[1, 2]", [1, 2]),
        (tuple[int, ...] | list[int], "(1, 2)", (1, 2)),
        (tuple[float, ...] | list[int], "[1, 2]", [1, 2]),
        (collections.abc.Sequence[int] | str, "(1, 2)", [1, 2]),
        (list[list[int]], "[[1], [2, 3]]", [[1], [2, 3]]),
        (list[list[int]], "[1]", REFUSED),
        (tuple[tuple[int, int], ...], "[(1, 2)]", ((1, 2),)),
        (collections.abc.Sequence[int], "7", REFUSED),
        (collections.abc.Sequence[str], "abc", REFUSED),
        (collections.abc.Sequence[str], "['abc']", ["abc"]),
        (collections.abc.Sequence[int | None], "[1, None]", [1, None]),
        (str | list[str], "abc", "abc"),
        (str | list[str], "['abc']", ["abc"]),
        (str | list[int], "['abc']", "['abc']"),
        # Dicts.
        (dict[str, int], "{'a': 1}", konfig.ConfigDict({"a": 1})),
        (dict[str, int], "3", REFUSED),
        (collections.abc.Mapping[str, int], '{"a": 1}', konfig.ConfigDict({"a": 1})),
        (dict[str, int] | None, "[1]", REFUSED),
        # Records take calls only; other classes may take anything.
        (Record, "3", REFUSED),
        (Record, "abc", REFUSED),
        (Record | str | None, "bf16", "bf16"),
        (Record | Literal["bf16"] | None, "bf16", "bf16"),
        (Record | Literal["bf16"] | None, "bf17", REFUSED),
        (Anything, "3", 3),
        (Anything, "abc", "abc"),
        (Anything | int, "1e3", 1000),
        (Anything | float, "[1]", [1]),
        (Any, "inf", INF),
        (collections.abc.Callable[[int], int] | float, "5", 5.0),
    ],
)
def test_literal_for_an_annotation(annotation, text, expected):
    assert_same(read(annotation, text), expected)


@pytest.mark.parametrize(
    ("annotation", "current", "text", "expected"),
    [
        (tuple[int, ...], (8,), "3", REFUSED),
        (tuple[int, ...], (8,), "[3]", (3,)),
        (tuple[int, ...], (8,), "[1.5]", REFUSED),
        (collections.abc.Sequence[int], [8], "['a']", REFUSED),
        (int | None, 5, "1.5", REFUSED),
        (float, 5, "1.5", 1.5),
        (int | str, 5, "fast", "fast"),
        (int | str, "fast", "5", "5"),
        (Color, const("Color.RED"), "BLUE", const("Color.BLUE")),
        (Color, const("Color.RED"), "GREEN", REFUSED),
        (str | tuple[int, int], "SAME", "[1, 2]", (1, 2)),
        (str, "x", "[1, 2]", "[1, 2]"),
        (Record | str, konfig.ConfigDict({"__qualname__": "m:Record"}), "bf16", "bf16"),
    ],
)
def test_literal_for_a_field_with_a_value_and_an_annotation(
    annotation, current, text, expected
):
    assert_same(read(annotation, text, x=current), expected)


@pytest.mark.parametrize(
    ("annotation", "text", "words"),
    [
        (
            tuple[int, ...],
            "3",
            "expected tuple[int, ...], such as `(3,)`, got 3 (int).",
        ),
        (list[int], "3", "expected list[int], such as `[3]`, got 3 (int)."),
        (list[str], "a,b", "(did you mean `['a', 'b']`?)"),
        (Color, "GREEN", "expected Color (RED, BLUE), got 'GREEN' (str)."),
        (Color, "BLEU", "(did you mean 'BLUE'?), got 'BLEU' (str)."),
        (Record | Literal["bf16", "f32"] | None, "bf61", "(did you mean 'bf16'?), got"),
        (
            list[int],
            "[64,",
            "'[64,' is no dict or list: the `]` at the end is missing.",
        ),
        (tuple[int, ...], "(64, 3", "the `)` at the end is missing"),
        (dict, "{'a': 1", "the `}` at the end is missing"),
        (None, "[[1, 2]", "the `]` at the end is missing"),
        (None, "[(1, 2]", "the `)` is missing before the `]`"),
        (None, "[1, 2]]", "the `]` closes nothing"),
        (None, "'abc", "the closing quote `'` is missing"),
        (None, '"abc', 'the closing quote `"` is missing'),
        # A quote behind a backslash is part of the text, unless that is escaped too.
        (None, r"['it\'s', 3", "the `]` at the end is missing"),
        (None, r"['it\'s, 3]", "the closing quote `'` is missing"),
        (None, r"['a\\', 3", "the `]` at the end is missing"),
        (None, "['a, 'b']", "the closing quote `'` is missing"),
        (None, "[a, b]", "texts in it need quotes, `['a', 'b']`"),
        (list[str], "[train, eval]", "texts in it need quotes, `['train', 'eval']`"),
        (None, "{a: 1}", "is no dict or list"),
        (int, "(3", "the `)` at the end is missing"),
        (dict, "{'a': py::f(1)}", "before the whole value, `py::{'a': f(1)}`."),
        (None, "[py::f(1), py::g()]", "before the whole value, `py::[f(1), g()]`."),
    ],
)
def test_refusal_says_what_is_wrong(annotation, text, words):
    def target(x=None):
        return x

    target.__annotations__ = {} if annotation is None else {"x": annotation}
    module = types.ModuleType("konfig_coercion_target")
    vars(module)["target"] = target
    sys.modules[module.__name__] = module
    cfg = konfig.ConfigDict({"call": {"__qualname__": f"{module.__name__}:target"}})
    overrides = konfig.parse_overrides([f"--cfg.call.x={text}"])
    try:
        with pytest.raises(konfig.ConfigTypeError) as info:
            konfig.apply_overrides(cfg, overrides)
    finally:
        del sys.modules[module.__name__]
    assert words in str(info.value)
    assert "did you mean `['[" not in str(info.value)


@pytest.mark.parametrize(
    "value", [INF, -INF, 1e308, 0.1, [1.0, INF], "inf", "nan", "5"]
)
def test_flag_of_a_sweep_gives_the_value_back(value):
    cfg = konfig.ConfigDict({"x": None})
    konfig.apply_overrides(cfg, konfig.parse_overrides(konfig.to_flags({"x": value})))
    assert_same(cfg.x, value)


def test_integer_that_no_float_can_hold_is_refused():
    assert read(float, "9" * 400) is REFUSED
    assert read(int, "9" * 400) == int("9" * 400)


def test_infinity_inside_a_call():
    cfg = konfig.ConfigDict({"x": None})
    flag = "--cfg.x=py::builtins.max(inf, -inf)"
    konfig.apply_overrides(cfg, konfig.parse_overrides([flag]))
    assert konfig.resolve(cfg)["x"] == INF
