"""References: values that follow other values."""

import copy
import json
import math
import operator
import os
import pathlib

import pytest

from kauldron import konfig

with konfig.imports():
    import konfig_targets as targets

ConfigDict = konfig.ConfigDict


def test_reads_follow_the_field_referred_to():
    cfg = ConfigDict({"a": {"x": 2}, "l": [1, 2]})
    cfg.b = cfg.ref.a.x * 10
    cfg.c = cfg.ref.l[1]
    cfg.d = cfg.ref.a["x"]
    assert (cfg.b, cfg.c, cfg.d) == (20, 2, 2)
    cfg.a.x = 3
    cfg.l[1] = 7
    assert (cfg.b, cfg.c, cfg.d) == (30, 7, 3)


def test_fields_may_be_referred_to_before_they_exist():
    cfg = ConfigDict()
    cfg.b = cfg.ref.a + 1
    cfg.a = 1
    assert cfg.b == 2


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (lambda r: r + 2, 9),
        (lambda r: 2 + r, 9),
        (lambda r: r - 2, 5),
        (lambda r: 2 - r, -5),
        (lambda r: r * 2, 14),
        (lambda r: 14 / r, 2.0),
        (lambda r: r / 2, 3.5),
        (lambda r: r // 2, 3),
        (lambda r: 15 // r, 2),
        (lambda r: r % 4, 3),
        (lambda r: 15 % r, 1),
        (lambda r: r**2, 49),
        (lambda r: 2**r, 128),
        (lambda r: -r, -7),
        (lambda r: abs(-r), 7),
        (lambda r: r & 3, 3),
        (lambda r: r | 8, 15),
        (lambda r: r ^ 1, 6),
        (lambda r: r == 7, True),
        (lambda r: r != 7, False),
        (lambda r: r < 8, True),
        (lambda r: r <= 6, False),
        (lambda r: r > 8, False),
        (lambda r: r >= 7, True),
        (lambda r: (r > 3) & (r < 5), False),
        (lambda r: r.to_float(), 7.0),
        (lambda r: r.to_str(), "7"),
        (lambda r: r.bit_length(), 3),
    ],
)
def test_expressions(expression, expected):
    cfg = ConfigDict({"a": 7})
    cfg.b = expression(cfg.ref.a)
    assert cfg.b == expected and type(cfg.b) is type(expected)


def test_methods_are_called_lazily():
    cfg = ConfigDict({"name": "run", "n": 3})
    cfg.path = cfg.ref.name.upper().ljust(cfg.ref.n * 2, "_")
    assert cfg.path == "RUN___"
    cfg.n = 2
    assert cfg.path == "RUN_"


def test_control_flow_is_refused_and_names_the_path():
    cfg = ConfigDict({"a": {"x": 1}})
    with pytest.raises(NotImplementedError, match=r"`cfg.ref.a.x == 1`"):
        bool(cfg.ref.a.x == 1)
    with pytest.raises(TypeError, match=r"cannot be iterated"):
        list(cfg.ref.a)
    with pytest.raises(AttributeError, match=r"read-only"):
        cfg.ref.a.x = 3
    with pytest.raises(TypeError, match=r"not known yet"):
        _ = 1 in cfg.ref.a


def test_broken_reference_says_what_is_missing_but_prints():
    cfg = ConfigDict({"a": {"width": 1}})
    cfg.b = cfg.ref.a.widht
    with pytest.raises(KeyError, match=r"`cfg.ref.a.widht` has no value.*'width'"):
        _ = cfg.b
    assert repr(cfg) == "<ConfigDict[{'a': {'width': 1}, 'b': cfg.ref.a.widht}]>"
    with pytest.raises(konfig.ConfigError, match=r"In `cfg.b`.*cfg.ref.a.widht"):
        konfig.resolve(cfg)


def test_reference_to_itself_is_reported():
    cfg = ConfigDict({"a": 1})
    cfg.a = cfg.ref.a + 1
    with pytest.raises(ValueError, match=r"refers to itself"):
        _ = cfg.a
    assert "cfg.ref.a + 1" in repr(cfg)


def test_deepcopy_rebinds_to_the_copied_root():
    cfg = ConfigDict({"a": 1, "n": {"m": [0]}})
    cfg.n.b = cfg.ref.a * 2
    cfg.n.m.append(cfg.ref.a)
    copied = copy.deepcopy(cfg)
    copied.a = 10
    assert copied.n.b == 20 and cfg.n.b == 2
    assert konfig.resolve(copied).n.m == (0, 10)


def test_deepcopy_of_a_part_still_refers_to_the_whole():
    cfg = ConfigDict({"a": 1, "n": {}})
    cfg.n.b = cfg.ref.a * 2
    part = copy.deepcopy(cfg.n)
    cfg.a = 5
    assert part.b == 10


def test_setting_a_computed_field_replaces_it_only_there():
    cfg = ConfigDict({"a": 1})
    cfg.b = cfg.ref.a * 2
    cfg.b = 7
    cfg.a = 3
    assert (cfg.a, cfg.b) == (3, 7)
    cfg.c = cfg.ref.a
    with pytest.raises(TypeError):
        cfg.c = "text"


def test_references_are_gone_after_resolve_and_objects_are_hashable():
    cfg = ConfigDict({"a": 3})
    cfg.box = targets.Box((cfg.ref.a, [cfg.ref.a * 2]))
    box = konfig.resolve(cfg).box
    assert box.args == ((3, (6,)),)
    hash(box)


def test_reference_to_a_node_shares_the_object():
    cfg = ConfigDict({"lr": targets.cosine(0.1, 5)})
    cfg.opt = targets.adam(learning_rate=cfg.ref.lr)
    resolved = konfig.resolve(cfg)
    assert resolved.opt[1] is resolved.lr


def test_get_ref_of_ml_collections_works():
    cfg = ConfigDict({"a": 2})
    cfg.b = cfg.get_ref("a") * 3
    cfg.a = 5
    assert cfg.b == 15


# Placeholders.


def test_placeholder_reads_as_none_and_keeps_its_type():
    cfg = ConfigDict({"a": konfig.placeholder(int), "d": konfig.placeholder(default=4)})
    assert cfg.a is None and cfg.d == 4
    cfg.b = cfg.ref.a * 2
    assert cfg.b is None
    with pytest.raises(TypeError, match=r"'a' holds int, got 'x'"):
        cfg.a = "x"
    cfg.a = 3
    assert cfg.b == 6


def test_one_placeholder_in_two_fields_is_one_value():
    shared = konfig.placeholder(int)
    cfg = ConfigDict({"a": shared, "b": shared})
    cfg.a = 3
    assert cfg.b == 3


def test_required_value_raises_when_it_is_needed_and_never_when_shown():
    cfg = ConfigDict({"a": konfig.required(int)})
    cfg.b = cfg.ref.a * 2
    with pytest.raises(
        konfig.RequiredValueError, match=r"required field 'a' is not set"
    ):
        _ = cfg.a
    with pytest.raises(konfig.RequiredValueError, match=r"'a'"):
        _ = cfg.b
    with pytest.raises(konfig.RequiredValueError) as info:
        konfig.resolve(cfg)
    assert "In `cfg.a`" in str(info.value) and "expected: int" in str(info.value)
    assert "'a': konfig.required(int)" in repr(cfg)
    assert konfig.ConfigDict(
        __import__("json").loads(cfg.to_json())
    )._fields.keys() == (cfg._fields.keys())
    assert not konfig.diff(cfg, copy.deepcopy(cfg))
    cfg.a = 3
    assert konfig.resolve(cfg) == {"a": 3, "b": 6}


def test_required_survives_json():
    cfg = ConfigDict({"a": konfig.required(int), "b": konfig.required()})
    loaded = ConfigDict(json.loads(cfg.to_json()))
    assert loaded == cfg
    with pytest.raises(konfig.RequiredValueError):
        _ = loaded.a
    with pytest.raises(TypeError):
        loaded.a = "x"


def test_ml_collections_users_can_catch_their_own_exception():
    from ml_collections import config_dict

    cfg = ConfigDict({"a": konfig.placeholder(int, required=True)})
    with pytest.raises(config_dict.RequiredValueError):
        _ = cfg.a


# Functions, copies.


def test_ref_fn_is_computed_on_each_read():
    cfg = ConfigDict({"n": 16})
    cfg.root = konfig.ref_fn(math.sqrt, cfg.ref.n)
    cfg.n = 25
    assert cfg.root == 5.0


def test_ref_fn_as_decorator_takes_references_in_containers():
    @konfig.ref_fn
    def total(values, *, scale=1):
        return sum(values) * scale

    cfg = ConfigDict({"a": 1, "b": 2})
    cfg.sum = total([cfg.ref.a, cfg.ref.b], scale=cfg.ref.b)
    assert cfg.sum == 6
    cfg.a = 5
    assert cfg.sum == 14


def test_error_in_a_ref_fn_names_it_and_keeps_its_type():
    cfg = ConfigDict({"a": 0})
    cfg.b = konfig.ref_fn(lambda x: 1 / x, cfg.ref.a)
    with pytest.raises(ZeroDivisionError, match=r"cannot be computed"):
        _ = cfg.b


def test_ref_copy_follows_until_set():
    cfg = ConfigDict({"a": 1, "n": {"x": 1, "y": 2}})
    linked = konfig.ref_copy(cfg)
    cfg.a = 2
    cfg.n.x = 5
    assert (linked.a, linked.n.x) == (2, 5)
    linked.n.x = 7
    linked.a = 9
    assert (cfg.a, cfg.n.x) == (2, 5)
    cfg.n.x = 8
    cfg.new = 3
    cfg.n = {"x": 100, "y": 200}
    assert (linked.n.x, linked.n.y) == (7, 2)
    assert "new" not in linked


def test_ref_copy_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"takes a ConfigDict, got 3"):
        konfig.ref_copy(3)


def test_with_ref_is_for_configs():
    class Thing(konfig.WithRef):
        pass

    with pytest.raises(RuntimeError, match=r"real Thing"):
        _ = Thing().ref


@pytest.mark.parametrize(
    "use",
    [
        lambda ref: f"run_lr{ref}",
        lambda ref: f"{ref:.3f}",
        lambda ref: "lr{}".format(ref),  # noqa: UP032
        lambda ref: "lr%s" % ref,  # noqa: UP031
        lambda ref: format(ref, ">8"),
        str,
        int,
        float,
        complex,
        bytes,
        round,
        len,
        range,
        math.floor,
        math.ceil,
        math.trunc,
        lambda ref: [1, 2, 3][ref],
        pathlib.Path,
        lambda ref: os.path.join("runs", ref),
        os.fspath,
    ],
)
def test_reference_used_as_a_plain_value_says_ref_fn(use):
    cfg = ConfigDict({"lr": 0.1})
    with pytest.raises(
        konfig.ConfigError, match=r"`cfg.ref.lr` is not known yet.*konfig.ref_fn"
    ):
        use(cfg.ref.lr)


@pytest.mark.parametrize(
    "use",
    [
        bool,
        lambda ref: 1 if ref else 2,
        lambda ref: ref and 1,
        lambda ref: not ref,
        lambda ref: 1 if ref > 0 else 2,
        lambda ref: ref in [1, 2],
        lambda ref: 0 < ref < 1,
    ],
)
def test_condition_on_a_reference_says_ref_fn(use):
    cfg = ConfigDict({"lr": 0.1})
    with pytest.raises(NotImplementedError, match=r"konfig\.ref_fn"):
        use(cfg.ref.lr)


def test_texts_that_follow_a_reference():
    cfg = ConfigDict({"lr": 0.1, "name": "a"})
    cfg.formatted = konfig.ref_fn(lambda lr: f"run_lr{lr}", cfg.ref.lr)
    cfg.joined = "run_" + cfg.ref.name + "_x"
    cfg.cast = "lr" + cfg.ref.lr.to_str()
    cfg.lr, cfg.name = 0.5, "b"
    assert cfg.formatted == "run_lr0.5"
    assert cfg.joined == "run_b_x"
    assert cfg.cast == "lr0.5"


def test_reference_can_be_looked_at():
    cfg = ConfigDict({"a": {"b": 1}})
    assert repr(cfg.ref.a.b + 1) == "cfg.ref.a.b + 1"
    assert f"{cfg.ref.a.b!r}" == "cfg.ref.a.b"


@pytest.mark.parametrize(
    "expression",
    [
        "(a + b) * 2",
        "2 * (a - b)",
        "a - (b - 1)",
        "(a - b) - 1",
        "-(a + b)",
        "(a ** b) ** 2",
        "a ** (b ** 2)",
        "(-3) ** a",
        "abs(a - b) // (a + 1)",
    ],
)
def test_text_of_a_reference_is_an_expression_of_the_same_value(expression):
    expected = eval(expression, {"a": 2, "b": 3})
    cfg = ConfigDict({"a": 2, "b": 3})
    cfg.made = eval(expression, {"a": cfg.ref.a, "b": cfg.ref.b})
    assert cfg.made == expected
    text = repr(eval(expression, {"a": cfg.ref.a, "b": cfg.ref.b}))
    cfg.again = eval(text, {"cfg": cfg})
    assert cfg.again == expected


def test_placeholder_that_is_not_set_can_be_compared_with_none():
    cfg = ConfigDict({"n": konfig.placeholder(int)})
    cfg.is_unset = operator.eq(cfg.ref.n, None)
    cfg.is_set = operator.ne(cfg.ref.n, None)
    cfg.next = cfg.ref.n + 1
    assert (cfg.is_unset, cfg.is_set, cfg.next) == (True, False, None)
    cfg.n = 3
    assert (cfg.is_unset, cfg.is_set, cfg.next) == (False, True, 4)


def test_path_and_reference_are_compared_by_value():
    a = ConfigDict({"x": pathlib.Path("runs"), "y": "runs"})
    b = ConfigDict({"x": "runs", "y": "runs"})
    b.x = b.ref.y
    assert not konfig.diff(a, b)
