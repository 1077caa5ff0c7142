"""Reading, setting, filtering, flattening by path."""

import dataclasses
import typing

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import errors, kontext
from kauldron.utils.immutabledict import ImmutableDict


class Pair(typing.NamedTuple):
    left: object
    right: object


@flax.struct.dataclass
class Struct:
    x: object
    y: object = None


@dataclasses.dataclass
class Mutable:
    x: object = 1


@pytest.mark.parametrize(
    "obj, path, value",
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"items": 1}, "items", 1),
        ({"a": [1, 2]}, "a[-1]", 2),
        ({"a": [1, 2, 3]}, "a[1:]", [2, 3]),
        ({0: "int", "0": "str"}, "[0]", "int"),
        (Struct(x={"b": (1, 2)}), "x.b[1]", 2),
        (Pair(left=[1], right=2), "left[0]", 1),
        (Pair(left=[1], right=2), "[1]", 2),
        (ImmutableDict(a=ImmutableDict(b=1)), "a.b", 1),
        ({"a": 1}, "", {"a": 1}),
        ({"a": {"b": 1}}, ("a", "b"), 1),
        ({"a": {"b": 1}}, kontext.Path("a", "b"), 1),
        ({"a": {None: 1, 1.5: 2}}, "a[1.5]", 2),
        ({"a": 1}, None, None),
    ],
)
def test_get_by_path(obj, path, value):
    assert kontext.get_by_path(obj, path) == value


def test_arrays_are_indexed():
    tensor = np.arange(24).reshape(2, 3, 4)
    context = {"tensor": tensor, "jax": jnp.asarray(tensor)}
    for name in context:
        seen = kontext.get_by_path(context, f"{name}[None, ..., 1:, ::2]")
        np.testing.assert_array_equal(seen, tensor[None, ..., 1:, ::2])
        seen = kontext.get_by_path(context, f"{name}[0].T")
        np.testing.assert_array_equal(seen, tensor[0].T)
        assert kontext.get_by_path(context, f"{name}.shape") == (2, 3, 4)


def test_abstract_arrays_are_indexed_as_the_arrays_they_stand_for():
    context = {"x": jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)}
    assert kontext.get_by_path(context, "x[..., 0]").shape == (2, 3)
    assert kontext.get_by_path(context, "x[0].T").shape == (4, 3)
    assert kontext.get_by_path(context, "x.ndim") == 3
    with pytest.raises(KeyError, match="no 'foo'"):
        kontext.get_by_path(context, "x.foo")


def test_default_replaces_what_is_missing():
    assert kontext.get_by_path({}, "a.b", default=3) == 3
    assert kontext.get_by_path({}, "a", None) is None
    assert kontext.get_by_path({"a": 1}, None, default=3) == 3
    assert kontext.Path("a").get_from({}, default=0) == 0


def test_a_method_of_a_dict_is_not_a_value():
    with pytest.raises(KeyError, match="no 'keys'"):
        kontext.get_by_path({"a": 1}, "keys")
    with pytest.raises(KeyError, match="no 'items'"):
        kontext.get_by_path(ImmutableDict(a=1), "items")


def test_missing_path_error_names_the_failing_part_and_what_is_there():
    with pytest.raises(KeyError) as info:
        kontext.get_by_path({"batch": {"image": 1, "label": 2}}, "batch.imgae")
    assert isinstance(info.value, errors.UserError)
    text = str(info.value)
    assert "'batch' exists, but has no 'imgae'" in text
    assert "Did you mean 'batch.image'?" in text
    assert "'batch' has: image, label." in text


def test_missing_path_error_can_list_everything():
    context = {"a": {"x": np.zeros((2, 3), np.float32)}, "b": None}
    with pytest.raises(KeyError) as info:
        kontext.Path("c").get_from(context, err_spec=True)
    assert "\n  b: None\n  a.x: f32[2 3]" in str(info.value)


def test_wrong_path_type_is_a_type_error():
    with pytest.raises(TypeError, match="got 3 of type int"):
        kontext.get_by_path({}, 3)
    with pytest.raises(ValueError, match=r"'a.\*' holds a wildcard"):
        kontext.get_by_path({"a": 1}, "a.*")


def test_errors_of_the_objects_own_properties_are_not_hidden():
    class Broken:
        @property
        def x(self):
            raise RuntimeError("inner")

    with pytest.raises(RuntimeError, match="inner"):
        kontext.get_by_path(Broken(), "x")


# Setting.


@pytest.mark.parametrize(
    "tree, path, changed, after",
    [
        ({"a": 1}, "a", ["a"], {"a": 0}),
        ({}, "a", ["a"], {"a": 0}),
        ({"a": {}}, "a.b", ["a.b"], {"a": {"b": 0}}),
        ({"a": [1, 2]}, "a[-2]", ["a[-2]"], {"a": [0, 2]}),
        ({"a": [1, 2]}, "a[1]", ["a[1]"], {"a": [1, 0]}),
        ({"a": [{"b": 1}, {}]}, "a.*.b", ["a[0].b", "a[1].b"], {"a": [{"b": 0}] * 2}),
        (
            {"a": {"x": 1}, "b": {}},
            "*.x",
            ["a.x", "b.x"],
            {"a": {"x": 0}, "b": {"x": 0}},
        ),
        (
            {"x": 1, "a": {"x": 1, "b": [{"x": 1}, {"y": 1}]}},
            "**.x",
            ["x", "a.x", "a.b[0].x"],
            {"x": 0, "a": {"x": 0, "b": [{"x": 0}, {"y": 1}]}},
        ),
        ({"a": [1], "b": []}, "**[0]", ["a[0]"], {"a": [0], "b": []}),
        ({"a": ({"b": 1},)}, "a[0].b", ["a[0].b"], {"a": ({"b": 0},)}),
        ({"a": {"b": 1}}, "**.c", [], {"a": {"b": 1}}),
        ({"a": {"a": 1}}, "**.a", ["a"], {"a": 0}),
        ({"a": {"b": {"c": 1}}}, "**.**.c", ["a.b.c"], {"a": {"b": {"c": 0}}}),
    ],
)
def test_set_by_path(tree, path, changed, after):
    assert kontext.set_by_path(tree, path, 0) == changed
    assert tree == after


def test_set_reaches_through_dataclasses_and_named_tuples():
    tree = Struct(x=Pair(left={"a": 1}, right=Mutable()))
    assert kontext.set_by_path(tree, "x.left.a", 0) == ["x.left.a"]
    assert kontext.set_by_path(tree, "x.right.x", 0) == ["x.right.x"]
    assert tree == Struct(x=Pair(left={"a": 0}, right=Mutable(x=0)))


@pytest.mark.parametrize(
    "tree, path, words",
    [
        ({"a": (1, 2)}, "a[0]", r"'a\[0\]': it is in an immutable tuple. Use a list"),
        (ImmutableDict(a=1), "a", "immutable ImmutableDict. Replace the whole mapping"),
        (Struct(x=1), "x", "immutable Struct. .*dataclasses.replace"),
        ({"a": Pair(1, 2)}, "a.left", "immutable Pair"),
        ({"a": 3}, "a.x", "'a' is a leaf .3 of type int."),
        ({"a": 3}, "a.x.y", "'a' is a leaf"),
        ({"a": 3}, "*.x", "'a' is a leaf"),
        ({"a": 3}, "a.*.x", "'a' is a leaf"),
    ],
)
def test_what_cannot_be_set_says_so(tree, path, words):
    with pytest.raises(kontext.SetPathError, match=words) as info:
        kontext.set_by_path(tree, path, 0)
    assert isinstance(info.value, TypeError | ValueError)


def test_intermediate_keys_must_exist():
    with pytest.raises(KeyError, match="Did you mean 'model'"):
        kontext.set_by_path({"model": {}}, "modle.x", 0)
    with pytest.raises(KeyError, match="no 'b'"):
        kontext.set_by_path({"x": {"b": {}}, "y": {}}, "*.b.c", 0)
    with pytest.raises(KeyError, match="has 2 items"):
        kontext.set_by_path([1, 2], "[2]", 0)
    with pytest.raises(KeyError, match="no 'z'"):
        kontext.set_by_path(Mutable(), "z", 0)


def test_nothing_changes_if_one_branch_fails():
    tree = {"a": {"x": 1}, "b": (1,)}
    with pytest.raises(kontext.SetPathError):
        kontext.set_by_path(tree, "*.x", 0)
    assert tree == {"a": {"x": 1}, "b": (1,)}


def test_empty_path_and_last_wildcard_cannot_be_set():
    with pytest.raises(ValueError, match="empty path"):
        kontext.set_by_path({}, "", 0)
    with pytest.raises(ValueError, match=r"cannot end with a wildcard: got 'a.\*'"):
        kontext.set_by_path({"a": {}}, "a.*", 0)
    with pytest.raises(NotImplementedError, match="slice"):
        kontext.set_by_path([1, 2], "[0:1]", 0)


def test_setting_terminates_on_cycles():
    tree = {"a": {"x": 1}}
    tree["a"]["up"] = tree
    assert "a.x" in kontext.set_by_path(tree, "**.x", 0)
    assert tree["a"]["x"] == 0


def test_paths_set_themselves():
    tree = {"a": {"b": 1}, "c": {"b": 1}}
    assert kontext.Path("a", "b").set_in(tree, 0) is None
    assert kontext.GlobPath("*", "b").set_in(tree, 2) == ["a.b", "c.b"]
    assert tree == {"a": {"b": 2}, "c": {"b": 2}}


# Filtering.


@pytest.mark.parametrize(
    "path, kept",
    [
        ("", {"a": {"b": {"b": {"a": 1}}, "c": [{"a": 2}, 3]}}),
        ("**", {"a": {"b": {"b": {"a": 1}}, "c": [{"a": 2}, 3]}}),
        ("a.c", {"a": {"c": [{"a": 2}, 3]}}),
        ("a.*.b", {"a": {"b": {"b": {"a": 1}}}}),
        ("**.c.*.a", {"a": {"c": [{"a": 2}]}}),
        ("a.**.b.a", {"a": {"b": {"b": {"a": 1}}}}),
        ("a.c[1]", {"a": {"c": [3]}}),
        ("a.c[-1]", {"a": {"c": [3]}}),
        ("**.nothing", {}),
    ],
)
def test_filter_by_path(path, kept):
    tree = {"a": {"b": {"b": {"a": 1}}, "c": [{"a": 2}, 3]}}
    assert kontext.filter_by_path(tree, path) == kept


def test_filter_keeps_the_kinds_of_containers():
    tree = ImmutableDict(a=({"w": 1}, 2), b=Pair({"w": 3}, 4), c=Struct(x={"w": 5}))
    kept = kontext.filter_by_path(tree, "**.w")
    assert kept == {"a": ({"w": 1},), "b": {"left": {"w": 3}}, "c": {"x": {"w": 5}}}
    assert isinstance(kept, ImmutableDict) and isinstance(kept["a"], tuple)


def test_filter_prefix_must_exist():
    with pytest.raises(KeyError, match="Did you mean 'params'"):
        kontext.filter_by_path({"params": {"b": 1}}, "parms.**.b")


# Flattening.


def test_flatten_with_path():
    tree = {"foo": {"b": [1, {"c d": 2}]}, "n": None, "s": Struct(x=3)}
    assert kontext.flatten_with_path(tree) == {
        "foo.b[0]": 1,
        "foo.b[1]['c d']": 2,
        "s.x": 3,
    }
    flat = kontext.flatten_with_path(tree["foo"], prefix="p", separator="/")
    assert flat == {"p/b/0": 1, "p/b/1/c d": 2}
    assert kontext.flatten_with_path([1], prefix="a.b") == {"a.b[0]": 1}
    flat = kontext.flatten_with_path(tree, is_leaf=lambda x: isinstance(x, list))
    assert flat["foo.b"] == [1, {"c d": 2}]


def test_flatten_takes_immutable_dicts():
    assert kontext.flatten_with_path(ImmutableDict(a=ImmutableDict(b=1))) == {"a.b": 1}


def test_every_flattened_path_leads_to_its_leaf():
    tree = {"a": [1, (2, {"x y": 3})], "b": Struct(x=Pair(4, 5))}
    for path, leaf in kontext.flatten_with_path(tree).items():
        assert kontext.get_by_path(tree, path) == leaf


@pytest.mark.parametrize(
    ("length", "shown"), [(58, "'" + 58 * "x" + "'"), (59, "'" + 56 * "x" + "...")]
)
def test_leaf_is_shown_up_to_60_characters(length, shown):
    with pytest.raises(ValueError, match="is a leaf") as e:
        kontext.set_by_path({"a": length * "x"}, "a.*.b", 1)
    assert f"({shown} of type str)" in str(e.value)
