"""Laws of configs, for generated ones with sharing, references, odd keys."""

import copy
import json
import pickle

import hypothesis
from hypothesis import strategies as st

from kauldron import konfig

_settings = hypothesis.settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)

_text = st.text(max_size=6)
_names = st.sampled_from(
    ["a", "b", "width", "items", "class", "x.y", "é", "ref_", "0x"]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | _text
    | st.sampled_from(["None", "true", "1e3", "[1", "py::a.b", " x ", "a=b", "'q'"])
)
_plain_keys = _names | st.integers(-3, 3) | st.booleans() | st.floats(allow_nan=False)
_calls = st.sampled_from(
    [
        "konfig_targets:Box",
        "konfig_targets:Box.made",
        "collections:OrderedDict",
        "not_installed.deep:Thing",
        "jax:numpy.array",
        "jax.numpy:array",
        "a:class.f",
    ]
)
_consts = st.sampled_from(["konfig_targets:Net", "json.decoder", "jax.nn:relu", "os"])


@st.composite
def configs(draw, calls=_calls, consts=_consts, tuples=False, cycles=True):
    """Builds nodes bottom-up; later ones hold earlier ones, possibly several times."""
    pool = [konfig.ConfigDict({"leaf": draw(_scalars)})]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["call", "dict", "const"]))
        if kind == "const":
            pool.append(konfig.ConfigDict({"__const__": draw(consts)}))
            continue
        node = konfig.ConfigDict()
        if kind == "call":
            node = konfig.ConfigDict({"__qualname__": draw(calls)})
            for i in range(draw(st.integers(0, 2))):
                node[str(i)] = draw(_value(pool, tuples))
        keys = _names if kind == "call" else _plain_keys
        for key in draw(st.lists(keys, max_size=4, unique_by=repr)):
            if key not in node:  # `1`, `1.0` and `True` are one key
                node[key] = draw(_value(pool, tuples))
        pool.append(node)
    root = konfig.ConfigDict({"number": draw(st.integers(-9, 9))})
    for i, node in enumerate(pool):
        root[f"n{i}"] = node
        if draw(st.booleans()):
            root[f"again{i}"] = [node]
    if draw(st.booleans()):
        root.computed = root.ref.number * draw(st.integers(-3, 3)) + 1
    if draw(st.booleans()):
        root.linked = root.ref[f"n{draw(st.integers(0, len(pool) - 1))}"]
    if cycles and draw(st.booleans()):
        root.me = root
    return root


def _value(pool, tuples):
    nodes = st.sampled_from(pool)
    values = _scalars | nodes | st.lists(_scalars | nodes, max_size=3)
    return values | st.tuples(_scalars, nodes) if tuples else values


@_settings
@hypothesis.given(configs())
def test_json_round_trip(cfg):
    loaded = konfig.ConfigDict(json.loads(cfg.to_json()))
    assert loaded == cfg
    assert repr(loaded) == repr(cfg)  # the same sharing, the same order


@_settings
@hypothesis.given(configs(tuples=True))
def test_python_round_trip(cfg):
    text = konfig.to_python(cfg)
    namespace = {"__name__": "written_config"}
    exec(compile(text, "written_config.py", "exec"), namespace)
    again = namespace["get_config"]()
    assert again == cfg
    assert not konfig.diff(again, cfg)  # the same sharing
    assert konfig.to_python(again) == text


@_settings
@hypothesis.given(configs(tuples=True))
def test_copies_are_equal_and_apart(cfg):
    for again in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert again == cfg and repr(again) == repr(cfg)
        again.n0.leaf = None
        again.n0.new = 1
        assert again != cfg
    assert not konfig.diff(cfg, copy.deepcopy(cfg))


@_settings
@hypothesis.given(configs(tuples=True))
def test_diff_is_empty_exactly_for_equal_configs(cfg):
    other = copy.deepcopy(cfg)
    other.number += 1
    assert [c.field for c in konfig.diff(cfg, other)][:1] == ["cfg.number"]
    assert not konfig.diff(cfg, json.loads(cfg.to_json()))


_good_consts = st.sampled_from(["konfig_targets:Net", "json.decoder", "os"])


@_settings
@hypothesis.given(configs(st.just("konfig_targets:Box"), _good_consts, True, False))
def test_resolving_a_copy_gives_an_equal_object(cfg):
    first = konfig.resolve(cfg, freeze=False)
    assert konfig.resolve(copy.deepcopy(cfg), freeze=False) == first


@_settings
@hypothesis.given(_scalars | st.lists(_scalars, max_size=3))
def test_override_then_print_then_parse_gives_the_same_config(value):
    cfg = konfig.ConfigDict({"a": {"x": None}, "b": [1]})
    flags = konfig.to_flags({"a.x": value})
    konfig.apply_overrides(cfg, konfig.parse_overrides(flags))
    assert cfg.a.x == value and type(cfg.a.x) is type(value)
    parsed = konfig.ConfigDict(json.loads(cfg.to_json()))
    assert parsed == cfg and konfig.to_flags({"a.x": parsed.a.x}) == flags


@_settings
@hypothesis.given(st.permutations(["a.x=1", "a={'y': 2}", "**.y=3", "b[0]=5", "c=6"]))
def test_order_of_overrides_never_matters(flags):
    cfg = konfig.ConfigDict({"a": {"x": 0}, "b": [1], "c": None})
    konfig.apply_overrides(cfg, konfig.parse_overrides([f"--cfg.{f}" for f in flags]))
    assert cfg == konfig.ConfigDict({"a": {"y": 3, "x": 1}, "b": [5], "c": 6})
