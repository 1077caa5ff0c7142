"""The text of shape specs."""

import fractions
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kauldron.ktyping import _parser, _solve, _spec

parse = _parser.parse


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "3",
        "*b h w c",
        "+b _ _foo ...",
        "*_ +_ a",
        "#h #3 *#b +#c",
        "c? 3? _? #c?",
        "3|4|a",
        "h/2 w//2 h*w h-1 h+1 h%2 h**2",
        "a+b*c (a+b)*c a-(b-c) a-b-c",
        "-a -(a+b) (-a)**2 -a**2 a**b**c (a**b)**c",
        "min(a,b) max(a,3) sum(*b) prod(*b,c)",
        "{n} {self.width} 2*{n} {f(1, 'a b')}",
        "3|a+1|min(a,b)",
    ],
)
def test_specs_print_as_they_are_written(text):
    assert str(parse(text)) == text


_names = st.sampled_from(["a", "b", "width", "größe"])
_atoms = st.one_of(_names.map(_spec.Name), st.integers(0, 99).map(_spec.Int))


def _compose(inner):
    binary = st.builds(
        _spec.Binary, st.sampled_from(sorted(_spec.OPERATORS)), inner, inner
    )
    args = st.lists(inner, min_size=1, max_size=3).map(tuple)
    call = st.builds(_spec.Call, st.sampled_from(sorted(_spec.FUNCTIONS)), args)
    return st.one_of(binary, st.builds(_spec.Negative, inner), call)


_expressions = st.recursive(_atoms, _compose, max_leaves=8)
_dims = st.one_of(
    _expressions,
    st.lists(_expressions, min_size=2, max_size=3).map(
        lambda options: _spec.Choice(tuple(options))
    ),
    _atoms.map(_spec.Broadcast),
    _atoms.map(_spec.OptionalDim),
    st.sampled_from(["*b", "+b", "*#b", "+#b", "...", "*_"]).map(
        lambda text: parse(text).dims[0]
    ),
)


@given(st.lists(_dims, max_size=5))
def test_parsing_is_the_inverse_of_printing(dims):
    spec = _spec.Spec(tuple(dims))
    assert parse(str(spec)) == spec


@given(_expressions, st.integers(1, 5), st.integers(1, 5))
def test_expressions_mean_what_they_mean_in_python(expression, a, b):
    bound = {"a": a, "b": b, "width": 2, "größe": 3}
    try:
        value = expression.evaluate(bound)
    except _spec.NoValue:
        return
    exact = {"F": fractions.Fraction, "min": _of(min), "max": _of(max)}
    exact |= {"sum": _of(sum), "prod": _of(math.prod)}
    text = re.sub(r"\b[0-9]+\b", r"F(\g<0>)", str(expression))
    names = {name: fractions.Fraction(size) for name, size in bound.items()}
    assert eval(text, exact, names) == value


def _of(function):
    return lambda *args: function(args)


@pytest.mark.parametrize(
    "text, cls, words",
    [
        ("h / 2", _parser.OperatorSpacingError, "no spaces around operators"),
        ("h* w", _parser.ModifierOrderError, "write '*h'"),
        ("h/ 2", _parser.OperatorSpacingError, "an operand is missing"),
        ("* b", _parser.OperatorSpacingError, "write 'h/2', '*b'"),
        ("h, w", _parser.StrayCommaError, "separated by spaces"),
        ("_4", _parser.AnonymousDimError, "write '4'"),
        ("_#a", _parser.AnonymousDimError, "cannot broadcast"),
        ("#_a", _parser.AnonymousDimError, "cannot broadcast"),
        ("*#_a", _parser.AnonymousDimError, "cannot broadcast"),
        ("a*", _parser.ModifierOrderError, "write '*a'"),
        ("a#", _parser.ModifierOrderError, "write '#a'"),
        ("_a+1", _parser.AnonymousDimError, "has no value"),
        ("(a", _parser.ShapeSpecError, "expected ')'"),
        ("{a", _parser.ShapeSpecError, "expected '}'"),
        ("a$b", _parser.ShapeSpecError, "unexpected '$b'"),
        ("min(a b)", _parser.ShapeSpecError, "expected ',' or ')'"),
        ("a+1?", _parser.ShapeSpecError, "only a name or a size can be optional"),
        ("[a]", _parser.ShapeSpecError, "expected a name or a size"),
    ],
)
def test_mistakes_are_named(text, cls, words):
    with pytest.raises(cls) as info:
        parse(text)
    assert isinstance(info.value, ValueError)
    assert repr(text) in str(info.value)
    assert words in str(info.value)


def test_mistakes_in_annotations_are_told_where_they_are_made():
    from kauldron import ktyping as kt

    with pytest.raises(kt.ShapeSpecError, match="separated by spaces"):
        kt.Float["h, w"]
    with pytest.raises(TypeError, match="write Float"):
        kt.Float("h w")
    with pytest.raises(TypeError, match="has a shape already"):
        kt.Float["h w"]["c"]
    with pytest.raises(TypeError, match="takes a shape spec"):
        kt.Float[3]


def test_powers_beyond_any_axis_have_no_value():
    with pytest.raises(_spec.NoValue):
        parse("99**99**99").dims[0].evaluate({})


@pytest.mark.parametrize(
    "text, size, bound, solutions",
    [
        ("a+1", 3, {}, [("a", 2)]),
        ("1-a", 1, {}, [("a", 0)]),
        ("a-1", 3, {}, [("a", 4)]),
        ("2*a", 6, {}, [("a", 3)]),
        ("2*a", 7, {}, []),
        ("a/2", 3, {}, [("a", 6)]),
        ("12/a", 3, {}, [("a", 4)]),
        ("a//2", 3, {}, [("a", 6), ("a", 7)]),
        ("a**2", 9, {}, [("a", 3)]),
        ("a*b", 6, {"b": 2}, [("a", 3)]),
        ("a+1", 0, {}, []),
        ("a*b", 6, {}, None),
        ("a+a", 6, {}, None),
        ("a%2", 1, {}, None),
        ("min(a,3)", 3, {}, None),
        ("a*0", 0, {}, None),
    ],
)
def test_one_unknown_is_inferred(text, size, bound, solutions):
    assert _solve.solve(parse(text).dims[0], size, bound) == solutions
