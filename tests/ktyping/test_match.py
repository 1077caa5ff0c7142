"""Candidate sets against brute force over all assignments."""

import itertools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kauldron.ktyping import _match, _parser, _spec

SIZES = range(4)
TUPLES = [t for n in range(4) for t in itertools.product(range(3), repeat=n)]


def _fits_dim(dim, sizes, a, b, star):
    """Whether a dim fits axes, all names being known. Written apart from `_match`."""
    names = {"a": a, "b": b}
    if isinstance(dim, _spec.Variadic):
        if len(sizes) < dim.min_len:
            return False
        if dim.name is None:
            return True
        if not dim.is_broadcast:
            return sizes == star
        if len(sizes) > len(star):
            return False
        return all(s in (1, t) for s, t in zip(sizes[::-1], star[::-1], strict=False))
    if isinstance(dim, _spec.OptionalDim):
        return not sizes or _fits_dim(dim.dim, sizes, a, b, star)
    if len(sizes) != 1:
        return False
    (size,) = sizes
    if isinstance(dim, _spec.Anonymous):
        return True
    if isinstance(dim, _spec.Broadcast):
        return size == 1 or _fits_dim(dim.dim, sizes, a, b, star)
    if isinstance(dim, _spec.Choice):
        return any(_fits_dim(option, sizes, a, b, star) for option in dim.options)
    scope = {"prod": lambda *x: math.prod(x), "sum": lambda *x: sum(x)}
    text = str(dim).replace("*s", "*star")
    try:
        return eval(text, scope, {**names, "star": star}) == size
    except ZeroDivisionError:
        return False


def _fits_spec(spec, shape, a, b, star):
    """Tries every way to divide the axes among the dims."""

    def fits(dims, rest):
        if not dims:
            return not rest
        return any(
            _fits_dim(dims[0], rest[:n], a, b, star) and fits(dims[1:], rest[n:])
            for n in range(len(rest) + 1)
        )

    return fits(spec.dims, shape)


def _oracle(checks):
    """Returns every assignment that fits all the checks."""
    return [
        (a, b, star)
        for a, b, star in itertools.product(SIZES, SIZES, TUPLES)
        if all(
            _fits_spec(_parser.parse(text), shape, a, b, star) for text, shape in checks
        )
    ]


def _run(checks):
    candidates = [{}]
    for text, shape in checks:
        candidates = _match.match(_parser.parse(text), shape, candidates)
    return candidates


def _represents(candidate, assignment):
    """Whether an assignment is one of those that a candidate stands for."""
    a, b, star = assignment
    if candidate.get("a", a) != a or candidate.get("b", b) != b:
        return False
    if candidate.get("*s", star) != star:
        return False
    at_least = candidate.get("#*s")
    broadcast = _parser.parse("*#s").dims[0]
    if at_least is not None and not _fits_dim(broadcast, at_least, a, b, star):
        return False
    return all(
        _fits_dim(dim, (size,), a, b, star)
        for dim, size in candidate.get(_match.PENDING, ())
    )


_DIMS = [
    *("a", "b", "1", "2", "_", "#a", "#2", "a?", "2?", "a|b", "2|a", "1|3"),
    *("*s", "+s", "*#s", "...", "+_"),
    *("a+1", "b-1", "2*a", "a+b", "a//2", "a*b", "-a+3", "prod(*s)", "sum(*s,a)"),
]
_specs = st.lists(st.sampled_from(_DIMS), max_size=4).map(" ".join)


@st.composite
def _checks(draw):
    """Specs with shapes, most of which fit one assignment, so that many checks pass."""
    hidden = draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))
    star = draw(st.sampled_from(TUPLES))
    checks = []
    for _ in range(draw(st.integers(1, 3))):
        text = draw(_specs)
        spec = _parser.parse(text)
        fitting = [t for t in TUPLES if _fits_spec(spec, t, *hidden, star)]
        is_fitting = fitting and draw(st.integers(0, 4)) > 0
        checks.append((text, draw(st.sampled_from(fitting if is_fitting else TUPLES))))
    return checks


@settings(max_examples=300, deadline=None)
@given(_checks())
@example([("+s a?", (2,))])
@example([("*s", (2,)), ("*#s", (1, 2))])
@example([("*#s", (1, 2)), ("*s", (2,))])
@example([("*#s prod(*s)", (1, 2)), ("*s", (2,))])
def test_candidates_stand_for_exactly_the_assignments_that_fit(checks):
    candidates = _run(checks)
    expected = set(_oracle(checks))
    seen = {
        assignment
        for assignment in itertools.product(SIZES, SIZES, TUPLES)
        if any(_represents(c, assignment) for c in candidates)
    }
    assert seen == expected


@settings(max_examples=150, deadline=None)
@given(_specs, st.integers(0, 2), st.integers(0, 2), st.sampled_from(TUPLES))
def test_a_shape_made_from_an_assignment_is_accepted(text, a, b, star):
    spec = _parser.parse(text)
    shapes = [shape for shape in TUPLES if _fits_spec(spec, shape, a, b, star)]
    for shape in shapes[:5]:
        found = _run([(text, shape), ("a", (a,)), ("b", (b,)), ("*s", star)])
        assert any(_represents(c, (a, b, star)) for c in found)


@pytest.mark.parametrize(
    "checks, candidates",
    [
        ([("*b h w c", (2, 3, 4, 5, 6))], [{"*b": (2, 3), "h": 4, "w": 5, "c": 6}]),
        ([("*a *b", (1, 2))], [
            {"*a": (), "*b": (1, 2)},
            {"*a": (1,), "*b": (2,)},
            {"*a": (1, 2), "*b": ()},
        ]),
        ([("*a *b", (1, 2)), ("*b", (2,))], [{"*a": (1,), "*b": (2,)}]),
        ([("+a +b", (1, 2))], [{"*a": (1,), "*b": (2,)}]),
        ([("a", (3,)), ("a", (4,))], []),
        ([("#a", (1,)), ("a", (4,))], [{"a": 4}]),
        ([("#a", (3,)), ("a", (4,))], []),
        ([("*#b", (3, 1)), ("*#b", (4,)), ("*b", (3, 4))], [{"*b": (3, 4)}]),
        ([("*#b", (3, 1)), ("*#b", (4,)), ("*b", (3, 1))], []),
        ([("a?", ())], [{}]),
        ([("a?", (3,))], [{"a": 3}]),
        ([("a a?", (3, 4))], []),
        ([("3|a", (3,))], [{}, {"a": 3}]),
        ([("a+1 a", (3, 2))], [{"a": 2}]),
        ([("a+b a b", (5, 2, 3))], [{"a": 2, "b": 3}]),
        ([("a+b a b", (5, 2, 2))], []),
        ([("a*b", (6,)), ("a", (2,))], [{"a": 2, "b": 3}]),
        ([("a//2", (3,)), ("a", (7,))], [{"a": 7}]),
        ([("h/2", (3,)), ("h", (7,))], []),
        ([("*b", (2, 3)), ("prod(*b)", (6,))], [{"*b": (2, 3)}]),
    ],
)  # fmt: skip
def test_hand_worked_examples(checks, candidates):
    found = _run(checks)
    assert sorted(map(str, found)) == sorted(map(str, candidates))


def test_symbolic_sizes_bind_like_numbers():
    from jax import export

    (b, n) = export.symbolic_shape("b, n")
    found = _run([("batch n", (b, n)), ("batch", (b,)), ("n+1", (n + 1,))])
    assert found == [{"batch": b, "n": n}]
    assert _run([("batch", (b,)), ("batch", (n,))]) == []


def test_expressions_wait_for_broadcast_dims_to_be_known():
    found = _run([("*#s prod(*s)", (1, 6))])
    assert [_match.PENDING in c for c in found] == [True]
    assert _match.match(_parser.parse("*s"), (2, 3), found) == [{"*s": (2, 3)}]
    assert _match.match(_parser.parse("*s"), (2, 2), found) == []
