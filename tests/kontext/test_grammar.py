"""Text to path and back."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kauldron import errors, kontext

GlobPath, Path = kontext.GlobPath, kontext.Path

_numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
)
_scalars = st.one_of(st.text(), _numbers, st.booleans(), st.none())
_bounds = st.one_of(st.none(), st.integers())
_slices = st.builds(slice, _bounds, _bounds, _bounds)
_tuples = st.recursive(
    st.one_of(_scalars, _slices, st.just(...)),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)
_parts = st.lists(
    st.one_of(st.sampled_from(["a", "__call__", "b1"]), _tuples), max_size=5
)


@given(_parts)
def test_repr_parses_back_to_an_equal_path(parts):
    path = Path(*parts)
    parsed = Path.from_str(repr(path))
    assert parsed == path
    assert list(map(type, parsed)) == list(map(type, parts))
    assert hash(parsed) == hash(path)
    assert repr(parsed) == repr(path)


_wild = st.one_of(
    st.sampled_from([kontext.Wildcard.STAR, kontext.Wildcard.DOUBLE_STAR])
)


@given(st.lists(st.one_of(_wild, _tuples), max_size=5))
def test_repr_of_a_glob_parses_back_to_an_equal_glob(parts):
    path = GlobPath._from_parts(tuple(parts))
    assert GlobPath.from_str(repr(path)) == path


@given(st.text(alphabet="ab0.[]'*: ,(-1e", max_size=12))
def test_any_text_is_a_path_or_a_syntax_error(text):
    try:
        path = GlobPath.from_str(text)
    except kontext.PathSyntaxError as error:
        assert repr(text) in str(error)
    else:
        assert GlobPath.from_str(str(path)) == path


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ()),
        ("a", ("a",)),
        ("batch.image", ("batch", "image")),
        ("interms.enc.__call__[0]", ("interms", "enc", "__call__", 0)),
        ("a.123.b", ("a", 123, "b")),
        ("[0].a", (0, "a")),
        (" a . b [ 'c' ] ", ("a", "b", "c")),
        ("a['b.c']", ("a", "b.c")),
        ('a["it\'s"]', ("a", "it's")),
        ("a[-1]", ("a", -1)),
        ("a[0x1F][0b11][0o17]", ("a", 31, 3, 15)),
        ("a[1.5][1e3][-2.]", ("a", 1.5, 1000.0, -2.0)),
        ("a[1+2j][3j]", ("a", 1 + 2j, 3j)),
        ("a[True][None]", ("a", True, None)),
        ("a[1:2][::-1][:]", ("a", slice(1, 2), slice(None, None, -1), slice(None))),
        ("a[(1,2)]", ("a", (1, 2))),
        ("a[1,2]", ("a", (1, 2))),
        ("a[..., 0:10, None, -1]", ("a", (..., slice(0, 10), None, -1))),
        ("a[()]", ("a", ())),
        ("größe.naïve", ("größe", "naïve")),
        ("a.class.None", ("a", "class", "None")),
    ],
)
def test_grammar(text, parts):
    path = Path.from_str(text)
    assert path.parts == parts
    assert list(map(type, path)) == list(map(type, parts))


@pytest.mark.parametrize(
    "path, text",
    [
        (Path("a", 0, "b"), "a[0].b"),
        (Path("a", "b c"), "a['b c']"),
        (Path("a", slice(1, None)), "a[1:]"),
        (Path("a", (..., slice(None, 3))), "a[...,:3]"),
        (Path("a", (1, 2)), "a[(1, 2)]"),
        (Path(), ""),
        (GlobPath("a", "*", 0, "**"), "a.*[0].**"),
        (GlobPath.from_str("a['*']"), "a['*']"),
    ],
)
def test_canonical_text(path, text):
    assert str(path) == repr(path) == text


@pytest.mark.parametrize(
    "text, words",
    [
        ("a..b", "expected a name at '.b' (position 2)"),
        (".a", "expected a name"),
        ("a.", "expected a name at the end"),
        ("a b", "expected '.' or '[' at 'b' (position 2)"),
        ("a[", "expected a literal at the end"),
        ("a[]", "nothing between the brackets"),
        ("a[b]", "A string key needs quotes: ['b']"),
        ("a[1 2]", "expected ',' or ']'"),
        ("a['x]", "expected a literal"),
        ("a[*]", "expected a literal"),
        ("a[007]", "is not a number"),
        ("a/b", "expected '.' or '['"),
    ],
)
def test_syntax_errors_name_the_text_and_the_position(text, words):
    with pytest.raises(ValueError) as info:
        Path.from_str(text)
    assert isinstance(info.value, errors.UserError)
    assert repr(text) in str(info.value)
    assert words in str(info.value)


def test_path_refuses_wildcards():
    with pytest.raises(ValueError, match=r"Use `kontext\.GlobPath`"):
        Path.from_str("a.*")
    with pytest.raises(ValueError, match="GlobPath"):
        Path("a", kontext.Wildcard.DOUBLE_STAR)


def test_a_path_is_an_immutable_sequence():
    path = Path("a", 0, "b", slice(1, 2))
    assert path[1] == 0 and path[-2] == "b"
    assert path[:2] == Path("a", 0) and isinstance(path[:2], Path)
    assert len(path) == 4 and list(path) == list(path.parts)
    assert {path: 1}[Path("a", 0, "b", slice(1, 2))] == 1
    assert path.relative_to(Path("a", 0)) == Path("b", slice(1, 2))
    assert Path("a") + Path("b") == Path("a", "b")
    assert Path("a") != GlobPath("a") and Path("a") != "a"
    assert pickle.loads(pickle.dumps(path)) == path
    with pytest.raises(ValueError, match="does not begin with"):
        path.relative_to(Path("b"))


def test_first_non_glob_parent():
    assert GlobPath("a", 0, "**", "b").first_non_glob_parent == Path("a", 0)
    assert GlobPath("a", 0).first_non_glob_parent == Path("a", 0)


def test_jax_key_paths_become_paths():
    jax = pytest.importorskip("jax")
    import flax.struct

    @flax.struct.dataclass
    class Node:
        x: object

    tree = {"a": [Node(x={"b c": 1})], 3: 2}
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree["a"])
    assert [Path.from_jax_path(p) for p, _ in leaves] == [Path(0, "x", "b c")]
    key = jax.tree_util.FlattenedIndexKey(2)
    assert Path.from_jax_path((key,)) == Path(2)
