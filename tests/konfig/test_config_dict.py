"""`ConfigDict`: values, types, sharing, positional arguments, printing, JSON."""

import copy
import dataclasses
import functools
import json
import pathlib
import pickle
from collections.abc import MutableMapping

import ml_collections
import pytest

from kauldron import konfig
from kauldron.utils import immutabledict

with konfig.imports():
    import konfig_targets as targets

ConfigDict = konfig.ConfigDict


def test_is_a_mutable_mapping_and_an_ml_collections_config():
    cfg = ConfigDict({"b": 1, "a": {"x": 2}})
    assert isinstance(cfg, MutableMapping)
    assert isinstance(cfg, ml_collections.ConfigDict)
    assert type(cfg.a) is ConfigDict
    assert list(cfg) == ["b", "a"]
    assert (cfg.a.x, cfg["a"]["x"], cfg.get("zz", 5), "a" in cfg) == (2, 2, 5, True)


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, "s", b"b", None, ..., slice(1, 2), pathlib.PurePosixPath("/a")],
)
def test_scalars_are_kept_as_they_are(value):
    assert ConfigDict({"a": value}).a is value


@pytest.mark.parametrize("value", [[1, "a"], (1, 2), {1, 2}, frozenset("ab")])
def test_containers_keep_their_type(value):
    held = ConfigDict({"a": value}).a
    assert held == value and type(held) is type(value)


def test_dicts_become_nodes_everywhere():
    cfg = ConfigDict({"a": [{"b": 1}], "c": immutabledict.ImmutableDict(d={"e": 2})})
    assert type(cfg.a[0]) is ConfigDict and cfg.a[0].b == 1
    assert type(cfg.c) is ConfigDict and cfg.c.d.e == 2


def test_dotted_keys_are_plain_keys():
    cfg = ConfigDict({"a.b": 1})
    assert cfg["a.b"] == 1 and "a" not in cfg
    cfg["c", "d"] = 2
    assert cfg["c.d"] == 2


class _Opaque:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (_Opaque(), "the _Opaque"),
        (_Opaque, "the class"),
        (json, "the module"),
        (json.dumps, "the function"),
        ([_Opaque()], "the _Opaque"),
    ],
)
def test_python_objects_are_refused(value, words):
    with pytest.raises(ValueError) as info:
        ConfigDict({"a": value})
    assert words in str(info.value)
    assert "konfig.imports()" in str(info.value)
    assert "konfig.mock_modules()" in str(info.value)


def test_objects_that_know_their_config_are_converted():
    class Key:
        def __as_konfig__(self):
            return "batch.image"

    assert ConfigDict({"a": Key()}).a == "batch.image"


def test_config_args_are_converted():
    @dataclasses.dataclass
    class ConfigArgs:
        size: int = 3

    assert ConfigDict({"args": ConfigArgs()}).args == ConfigDict({"size": 3})


def test_partials_are_converted():
    cfg = ConfigDict({"f": functools.partial(targets.adam, 1e-3, b1=0.5)})
    assert dict(cfg.f.items()) == {
        "__qualname__": "functools:partial",
        "0": ConfigDict({"__const__": "konfig_targets:adam"}),
        "1": 1e-3,
        "b1": 0.5,
    }


# Types of fields.


def test_int_becomes_float_in_a_float_field():
    cfg = ConfigDict({"a": 1.5})
    cfg.a = 2
    assert cfg.a == 2.0 and type(cfg.a) is float


@pytest.mark.parametrize(
    ("old", "new"), [(1, "a"), (1, 1.5), ("a", 1), ([1], 3), (True, "x"), ({"a": 1}, 3)]
)
def test_other_types_are_refused(old, new):
    cfg = ConfigDict({"a": old})
    with pytest.raises(TypeError, match=r"The field 'a' holds"):
        cfg.a = new
    assert cfg == ConfigDict({"a": old})
    with cfg.ignore_type():
        cfg.a = new
    assert cfg.a == new


def test_none_fits_everywhere_and_takes_everything():
    cfg = ConfigDict({"a": 1, "b": None})
    cfg.a = None
    cfg.b = "x"
    assert cfg.a is None and cfg.b == "x"


def test_a_call_may_replace_a_number():
    cfg = targets.adam(learning_rate=1e-3)
    cfg.learning_rate = targets.cosine(1e-3, 10)
    assert cfg.learning_rate["__qualname__"] == "konfig_targets:cosine"


def test_missing_field_names_the_nearest():
    cfg = ConfigDict({"learning_rate": 1})
    with pytest.raises(AttributeError, match=r"Did you mean 'learning_rate'"):
        _ = cfg.learning_rte
    with pytest.raises(KeyError, match=r"no field 'learning_rte'"):
        _ = cfg["learning_rte"]
    assert not hasattr(cfg, "learning_rte")


def test_locked_config_refuses_new_fields():
    cfg = ConfigDict({"width": 1}).lock()
    with pytest.raises(KeyError, match=r"locked.*Did you mean 'width'"):
        cfg["widht"] = 3
    with cfg.unlocked():
        cfg.height = 3
    assert cfg.height == 3


def test_ref_is_not_a_field():
    with pytest.raises(AttributeError, match=r"cfg\['ref'\]"):
        ConfigDict().ref = 3


def test_call_and_constant_exclude_each_other():
    with pytest.raises(ValueError, match=r"not both"):
        ConfigDict({"__qualname__": "a:b", "__const__": "a:b"})
    with pytest.raises(ValueError, match=r"no other keys"):
        ConfigDict({"__const__": "a:b", "x": 1})
    with pytest.raises(ValueError, match=r"no other keys"):
        ConfigDict({"__const__": "a:b"}).x = 1


# Positional arguments.


def test_positional_arguments_by_index():
    cfg = targets.Box("a", "b")
    assert (cfg[0], cfg[-1], cfg["1"]) == ("a", "b", "b")
    cfg[-1] = "c"
    assert cfg[1] == "c"
    with pytest.raises(IndexError):
        _ = cfg[2]
    with pytest.raises(IndexError):
        cfg[-3] = "x"
    with pytest.raises(IndexError):
        cfg[3] = "x"
    cfg[2] = "d"
    assert konfig.resolve(cfg).args == ("a", "c", "d")


def test_int_keys_of_plain_nodes_are_plain_keys():
    cfg = ConfigDict({0: {"1": "x"}, -4: 1, "0": 2, "b": 3})
    assert (cfg[0]["1"], cfg[-4], cfg["0"], cfg["b"]) == ("x", 1, 2, 3)
    assert "1" in cfg[0] and 1 not in cfg[0]
    assert ConfigDict(json.loads(cfg.to_json())) == cfg


# Sharing, copies.


def test_assigning_a_node_twice_shares_it():
    cfg = ConfigDict()
    cfg.a = targets.Box(size=1)
    cfg.b = cfg.a
    cfg.b.size = 5
    assert cfg.a.size == 5


def test_deepcopy_keeps_sharing_and_cycles():
    cfg = ConfigDict({"a": {"x": 1}})
    cfg.b = cfg.a
    cfg.items_ = [cfg.a]
    cfg.me = cfg
    copied = copy.deepcopy(cfg)
    assert copied == cfg
    assert copied.a is copied.b is copied.items_[0] and copied.me is copied
    assert copied.a is not cfg.a


def test_shared_and_cyclic_dicts_stay_so():
    shared = {"x": 1}
    source = {"a": shared, "b": [shared]}
    source["me"] = source
    cfg = ConfigDict(source)
    assert cfg.a is cfg.b[0] and cfg.me is cfg


def test_pickle_keeps_values_sharing_and_references():
    cfg = ConfigDict({"a": {"x": 1}, "w": konfig.placeholder(int)})
    cfg.b = cfg.a
    cfg.y = cfg.ref.a.x * 2
    loaded = pickle.loads(pickle.dumps(cfg))
    assert loaded == cfg and loaded.a is loaded.b
    loaded.a.x = 5
    assert loaded.y == 10 and cfg.y == 2


def test_or_merges_a_copy():
    cfg = ConfigDict({"a": {"x": 1, "y": 2}, "b": 1})
    merged = cfg | {"a": {"x": 5}, "c": 3}
    assert merged == ConfigDict({"a": {"x": 5, "y": 2}, "b": 1, "c": 3})
    assert cfg.a.x == 1


def test_update_replaces_a_call_of_something_else():
    cfg = ConfigDict({"o": targets.adam(1e-3, b1=0.5)})
    cfg.update({"o": targets.adam(2e-3)})
    assert cfg.o == targets.adam(2e-3, b1=0.5)
    cfg.update({"o": targets.cosine(1.0, 2)})
    assert cfg.o == targets.cosine(1.0, 2)


def test_equality_is_by_value():
    a, b = ConfigDict({"x": 1, "y": [1, {"z": 2}]}), ConfigDict({"y": [1, {"z": 2}]})
    assert a != b
    b.x = a.ref.x
    assert a == b and a == b
    assert ConfigDict({"a": [1]}) != ConfigDict({"a": (1,)})
    assert ConfigDict({1: 2}) != ConfigDict({"1": 2})


def test_pop_setdefault_delete():
    cfg = ConfigDict({"a": 1})
    assert cfg.pop("a") == 1 and cfg.pop("a", 7) == 7
    assert cfg.setdefault("b", 3) == 3 and cfg.b == 3
    del cfg.b
    assert len(cfg) == 0
    with pytest.raises(AttributeError):
        del cfg.b


def test_default_values_are_filled_in_and_copied():
    with konfig.imports(lazy=True):
        import some_module
    konfig.register_default_values(some_module.Thing(evals={}, size=3))
    a, b = some_module.Thing(size=4), some_module.Thing()
    assert a == ConfigDict(
        {"__qualname__": "some_module:Thing", "size": 4, "evals": {}}
    )
    a.evals["x"] = 1
    assert b.evals == ConfigDict() and b.size == 3
    with pytest.raises(ValueError, match=r"Other default values"):
        konfig.register_default_values(some_module.Thing(evals={}, size=5))


def test_defaults_of_the_trainer():
    with konfig.imports(lazy=True):
        from kauldron import kd
    cfg = kd.train.Trainer(seed=1)
    assert cfg.workdir is None and cfg.evals == ConfigDict()
    assert cfg.schedules == ConfigDict() and cfg.setup == kd.train.Setup()
    assert cfg.xm_job["__qualname__"] == "kauldron.kxm:Job"
    with pytest.raises(TypeError, match=r"'workdir' holds str"):
        cfg.workdir = 3
    cfg.workdir = pathlib.PurePosixPath("/tmp/x")
    assert cfg.workdir == "/tmp/x"


def test_nodes_remember_where_they_were_written():
    cfg = targets.Box(a=1)
    cfg.b = 2
    assert str(cfg._origin).endswith(f"test_config_dict.py:{cfg._origin.line}")
    assert cfg._origins["b"].line == cfg._origin.line + 1
    assert copy.deepcopy(cfg)._origin == cfg._origin
    assert pickle.loads(pickle.dumps(cfg))._origin is None


# Printing.


def test_repr_reads_like_python():
    cfg = ConfigDict(
        {"optimizer": targets.adam(1e-3, b1=0.5), "t": (1,), "constant": targets.Net}
    )
    assert repr(cfg) == (
        "<ConfigDict[{\n"
        "    'optimizer': konfig_targets.adam(0.001, b1=0.5),\n"
        "    't': (1,),\n"
        "    'constant': konfig_targets.Net,\n"
        "}]>"
    )
    assert str(cfg) == repr(cfg)
    assert repr(ConfigDict({"a": 1})) == "<ConfigDict[{'a': 1}]>"


def test_repr_uses_aliases_and_dots():
    with konfig.imports(lazy=True):
        import numpy as np
        from flax import linen as nn

        from kauldron import kd
    assert repr(nn.Dense(3)) == "<ConfigDict[nn.Dense(3)]>"
    assert repr(kd.data.Elements()) == "<ConfigDict[kd.data.Elements()]>"
    assert repr(ConfigDict({"a": np.float32})) == "<ConfigDict[{'a': np.float32}]>"
    konfig.register_aliases({"konfig_alias_test.sub": "kat"})
    assert repr(ConfigDict({"__qualname__": "konfig_alias_test.sub:f"})) == (
        "<ConfigDict[kat.f()]>"
    )
    with pytest.raises(ValueError, match=r"already stands for 'numpy'"):
        konfig.register_aliases({"other": "np"})


def test_repr_marks_shared_nodes_in_order_of_discovery():
    cfg = ConfigDict({"x": {"v": 1}})
    cfg.y = [cfg.x, cfg.x]
    cfg.me = cfg
    assert repr(cfg) == (
        "<ConfigDict[&id002 {'x': &id001 {'v': 1}, 'y': [*id001, *id001], "
        "'me': *id002}]>"
    )


def test_repr_of_odd_argument_names():
    cfg = targets.Box(1)
    cfg["a.b"] = 2
    cfg["class"] = 3
    assert repr(cfg) == (
        "<ConfigDict[konfig_targets.Box(1, **{'a.b': 2, 'class': 3})]>"
    )


def test_html_escapes():
    html = ConfigDict({"a": "<script>"})._repr_html_()
    assert "<script>" not in html and "script" in html


# JSON.


def test_json_marks_nodes_used_more_than_once():
    cfg = ConfigDict({"a": targets.Box(), "b": {"x": 1}, "once": {"y": 2}})
    cfg.c = [cfg.a, cfg.b]
    data = json.loads(cfg.to_json())
    assert data == {
        "a": {"__qualname__": "konfig_targets:Box", "__id__": 0},
        "b": {"x": 1, "__id__": 1},
        "once": {"y": 2},
        "c": [{"__id__": 0}, {"__id__": 1}],
    }
    loaded = ConfigDict(data)
    assert loaded == cfg and repr(loaded) == repr(cfg)
    assert loaded.c[0] is loaded.a


def test_json_with_full_contents_at_every_occurrence_is_read():
    node = {"__qualname__": "konfig_targets:Box", "x": 1, "__id__": 0}
    cfg = ConfigDict({"a": dict(node), "b": dict(node)})
    assert cfg.a is cfg.b and cfg.a.x == 1


def test_json_with_sorted_keys_is_read():
    cfg = ConfigDict({"z": {"x": 1}})
    cfg.a = cfg.z
    loaded = ConfigDict(json.loads(cfg.to_json(sort_keys=True)))
    assert loaded == cfg and loaded.a is loaded.z


def test_json_drops_references_and_makes_lists():
    cfg = ConfigDict({"a": 2, "p": pathlib.PurePosixPath("/x"), "t": (1, 2)})
    cfg.b = cfg.ref.a * 3
    assert json.loads(cfg.to_json()) == {"a": 2, "p": "/x", "t": [1, 2], "b": 6}


def test_json_keys_of_other_types():
    cfg = ConfigDict({1: "a", False: "b", 2.5: "c", "1": "d"})
    text = cfg.to_json()
    assert '"__raw__=2.5"' in text
    assert ConfigDict(json.loads(text)) == cfg


@pytest.mark.parametrize("value", [b"x", ..., slice(1)])
def test_json_names_the_field_that_it_cannot_hold(value):
    with pytest.raises(TypeError, match=r"`cfg.a\[1\].b` cannot be written as JSON"):
        ConfigDict({"a": [0, {"b": value}]}).to_json()


def test_json_refuses_other_keys():
    with pytest.raises(TypeError, match=r"The key None"):
        ConfigDict({None: 1}).to_json()


def test_json_of_cycles():
    cfg = ConfigDict({"a": {"b": 1}})
    cfg.a.root = cfg
    loaded = ConfigDict(json.loads(cfg.to_json()))
    assert loaded == cfg and loaded.a.root is loaded
