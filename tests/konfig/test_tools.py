"""`diff`, `to_python`, `export`, sweeps."""

import collections
import copy
import dataclasses
import json
import pathlib

import konfig_targets
import pytest

from kauldron import konfig
from kauldron.utils import immutabledict

with konfig.imports():
    import konfig_targets as targets

ConfigDict = konfig.ConfigDict


# Diff.


def test_equal_configs_have_no_diff(example):
    a, b = konfig.load_config_file(example), konfig.load_config_file(example)
    found = konfig.diff(a, b)
    assert not found and len(found) == 0
    assert str(found) == "The configs are equal."
    assert not konfig.diff(a, json.loads(a.to_json()))


def test_diff_tells_what_was_added_removed_and_changed():
    a = ConfigDict({"a": 1, "l": [1, 2], "o": targets.adam(1e-3), "gone": {"x": 1}})
    b = ConfigDict({"a": 2, "l": [1, 3, 4], "o": targets.cosine(1e-3), "new": "x"})
    assert str(konfig.diff(a, b)).splitlines() == [
        "~ cfg.a: 1 -> 2",
        "~ cfg.l[1]: 2 -> 3",
        "+ cfg.l[2]: 4",
        "~ cfg.o: konfig_targets.adam -> konfig_targets.cosine",
        "- cfg.gone: {'x': 1}",
        "+ cfg.new: 'x'",
    ]


def test_diff_of_different_kinds_of_values_shows_both():
    a = ConfigDict({"o": targets.adam(1e-3), "p": None})
    b = ConfigDict({"o": 3, "p": targets.Box("long " * 30)})
    text = str(konfig.diff(a, b))
    assert "~ cfg.o: konfig_targets.adam(0.001) -> 3" in text
    assert "- cfg.p: None" in text and "+ cfg.p: konfig_targets.Box(" in text


def test_diff_tells_sharing():
    a = ConfigDict({"x": {"v": 1}})
    b = copy.deepcopy(a)
    a.y = a.x
    b.y = {"v": 1}
    assert str(konfig.diff(a, b)) == (
        "~ cfg.y: the same node as cfg.x -> a node of its own"
    )


def test_diff_of_cycles_ends():
    a, b = ConfigDict({"n": {"v": 1}}), ConfigDict({"n": {"v": 2}})
    a.n.up, b.n.up = a, b
    assert str(konfig.diff(a, b)) == "~ cfg.n.v: 1 -> 2"


def test_positional_arguments_are_named_as_flags_name_them():
    def config(first, **named):
        inner = ConfigDict({"__qualname__": "fractions:Fraction", "0": first, **named})
        outer = {"__qualname__": "fractions:Fraction", "0": inner, "1": 3}
        return ConfigDict({"ratio": outer, "free": {"0": first}})

    assert [c.field for c in konfig.diff(config(1), config(2))] == [
        "cfg.ratio[0][0]",
        "cfg.free['0']",
    ]
    [problem] = konfig.check(config(1, denominatr=2))
    assert problem.field == "cfg.ratio[0].denominatr"


def test_diff_reads_files_and_workdirs(tmp_path, example):
    cfg = konfig.load_config_file(example)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(cfg.to_json())
    assert not konfig.diff(tmp_path / "run", example)
    cfg.seed = 3
    found = konfig.diff(tmp_path / "run" / "config.json", cfg)
    assert [c.field for c in found] == ["cfg.seed"]
    with pytest.raises(FileNotFoundError, match=r"There is no config at"):
        konfig.diff(tmp_path / "nothing.json", cfg)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(konfig.ConfigFileError, match=r"is not JSON"):
        konfig.diff(tmp_path / "bad.json", cfg)


def test_diff_with_colours_and_html():
    found = konfig.diff(ConfigDict({"a": "<b>"}), ConfigDict({"c": 1}))
    assert found.to_text(color=True) == (
        "\x1b[31m- cfg.a: '<b>'\x1b[0m\n\x1b[32m+ cfg.c: 1\x1b[0m"
    )
    assert "&lt;b&gt;" in found._repr_html_()


# To Python.


def round_trip(cfg, tmp_path):
    path = tmp_path / "written.py"
    path.write_text(konfig.to_python(cfg), encoding="utf-8")
    return konfig.load_config_file(path)


def test_python_reads_as_a_user_would_write_it(example):
    assert konfig.to_python(konfig.load_config_file(example)) == (
        "from kauldron import konfig\n"
        "\n"
        "with konfig.imports():\n"
        "    import konfig_targets\n"
        "\n"
        "\n"
        "def get_config():\n"
        "    cfg = konfig_targets.Trainer(num_train_steps=1000)\n"
        "    cfg.workdir = konfig.placeholder(str)\n"
        '    cfg.aux = {"width": 64, "name": "big"}\n'
        '    cfg.model = konfig_targets.Net(inputs="batch.image", features=[64, 32])\n'
        '    cfg.schedules = {"lr": konfig_targets.cosine(0.001, '
        "cfg.ref.num_train_steps)}\n"
        "    cfg.optimizer = konfig_targets.adam("
        'learning_rate=cfg.ref.schedules["lr"], b1=0.8)\n'
        "    cfg.evals = {\n"
        '        "short": konfig_targets.Evaluator(num_batches=1),\n'
        '        "long": konfig_targets.Evaluator(),\n'
        "    }\n"
        "    return cfg\n"
    )


def test_python_round_trip_keeps_references(example, tmp_path):
    cfg = konfig.load_config_file(example)
    again = round_trip(cfg, tmp_path)
    assert again == cfg and repr(again) == repr(cfg)
    again.num_train_steps = 7
    assert again.schedules.lr[1] == 7
    with pytest.raises(TypeError):
        again.workdir = 3


def test_python_round_trip_of_odd_values(tmp_path):
    cfg = ConfigDict(
        {
            "floats": [float("inf"), float("-inf"), 1e-30],
            "bytes": b"\x00",
            "slice": slice(1, None, 2),
            "dots": ...,
            "one": (1,),
            "nothing": (),
            "set": {1, 2},
            "frozen": frozenset("a"),
            "path": pathlib.PurePosixPath("/a b"),
            "complex": 2j,
            "text": "a'b\"c\n\\ naïve",
            "class": 3,
            "items": 4,
            "dotted.key": 5,
            "nested": {0: 1, "0": 2, True: 3, None: 4},
            "const": targets.Net,
            "odd": targets.Box(1, **{"a.b": 2, "class": 3, "cfg": 4}),
            "required": konfig.required(int),
            "strange": {"__const__": "a-b:c"},
            "strange_call": {"__qualname__": "a.class:f", "0": 1, "x": 2},
            "no_colon": {"__qualname__": "konfig_targets.Box", "0": 1},
            "module": {"__const__": "not_there.sub"},
        }
    )
    again = round_trip(cfg, tmp_path)
    assert repr(again) == repr(cfg).replace("PurePosixPath", "PosixPath")
    del again.path, cfg.path
    assert again == cfg


def test_python_round_trip_of_sharing_and_cycles(tmp_path):
    cfg = targets.Box(a=targets.Box(1), b={"deep": {"x": 1}})
    cfg.c = [cfg.a, cfg.b.deep]
    cfg.b.deep.up = cfg.b
    cfg.b.root = cfg
    again = round_trip(cfg, tmp_path)
    assert again == cfg
    assert again.c[0] is again.a and again.c[1] is again.b.deep
    assert again.b.deep.up is again.b and again.b.root is again


def test_python_of_modules_within_one_another(tmp_path):
    cfg = ConfigDict(
        {
            "a": {"__const__": "xml:dom.minidom"},
            "b": {"__const__": "xml.dom:minidom"},
            "c": {"__const__": "xml.dom.minidom:Document"},
            "d": {"__const__": "json.decoder:JSONDecoder"},
            "e": {"__const__": "konfig_no_such.decoder:JSONDecoder"},
        }
    )
    assert round_trip(cfg, tmp_path) == cfg


def test_python_leaves_out_and_deletes_default_values(tmp_path):
    with konfig.imports(lazy=True):
        from kauldron import kd
    cfg = kd.train.Trainer(seed=1)
    text = konfig.to_python(cfg)
    assert "cfg = kd.train.Trainer(seed=1)\n" in text and "xm_job" not in text
    del cfg.setup
    assert round_trip(cfg, tmp_path) == cfg


def test_python_of_a_reference_that_is_no_expression_writes_the_value(tmp_path):
    cfg = ConfigDict({"a": 4})
    cfg.b = konfig.ref_fn(lambda x: x + 1, cfg.ref.a)
    cfg.c = (cfg.ref.a * 2 + 1).to_str()
    assert 'cfg = konfig.ConfigDict({"a": 4, "b": 5, "c": "9"})' in konfig.to_python(
        cfg
    )
    assert round_trip(cfg, tmp_path) == cfg


# Export.


@dataclasses.dataclass
class Holder:
    value: object
    name: str = "x"


class Exported:
    def __init__(self, data):
        self.data = data

    def __konfig_export__(self):
        return self.data


@pytest.mark.parametrize(
    "obj",
    [
        None,
        True,
        3,
        2.5,
        "s",
        [1, [2]],
        (1, (2,)),
        {"a": 1, 3: (4,), (1, 2): None},
        immutabledict.ImmutableDict(a=1),
        konfig_targets.Pair(1, "b"),
        konfig_targets.Net(inputs="x", features=(1, 2)),
        konfig_targets.Net,
        konfig_targets.adam,
        Holder({"deep": konfig_targets.Pair(Holder(1), [konfig_targets.Net])}),
    ],
)
def test_export_round_trips(obj):
    data = json.loads(json.dumps(konfig.export(obj)))
    again = konfig.resolve(data, freeze=False)
    assert again == obj and type(again) is type(obj)


def test_export_of_arrays_and_dtypes():
    np = pytest.importorskip("numpy")
    for dtype in ("float32", "int8", "bool"):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        again = konfig.resolve(
            json.loads(json.dumps(konfig.export(array))), freeze=False
        )
        np.testing.assert_array_equal(again, array)
        assert again.dtype == array.dtype
    assert konfig.resolve(konfig.export(np.dtype("float32"))) == np.dtype("float32")


def test_export_of_an_array_spec():
    enp = pytest.importorskip("etils.enp")
    spec = enp.ArraySpec(shape=(2, 3), dtype="float32")
    again = konfig.resolve(json.loads(json.dumps(konfig.export(spec))), freeze=False)
    assert again == spec


def test_export_by_method():
    data = {"__qualname__": "konfig_targets:Box", "0": 1}
    assert konfig.export(Exported(data)) == data
    with pytest.raises(ValueError, match=r"must return a dict with '__qualname__'"):
        konfig.export(Exported({"a": 1}))


def test_export_names_what_it_does_not_know():
    with pytest.raises(
        NotImplementedError, match=r"`obj\['a'\]\[1\]` is <list_iterator"
    ):
        konfig.export({"a": [1, iter([])]})
    with pytest.raises(NotImplementedError):
        konfig.export(lambda: 1)


def test_export_qualname():
    assert konfig.export_qualname(collections.OrderedDict) == "collections:OrderedDict"
    assert konfig.export_qualname(konfig_targets.Box(1)) == "konfig_targets:Box"


# Sweeps.

SWEEPS = """
from kauldron import konfig
with konfig.imports():
    import konfig_targets as targets

def sweep():
    "Learning rates."
    for lr in (1e-3, 3e-4):
        yield {"optimizer.learning_rate": lr}

def sweep_model():
    yield {"model.dtype": "bfloat16", "__args__.x": None}
    yield {"model": targets.Net(inputs="x y", features=(1, 2)), "seed": 1}

def sweep_bad():
    yield 3

def get_config():
    return targets.Trainer(model=targets.Net(inputs="a", dtype="float32"))
"""


def test_sweeps_are_found_and_described(write):
    path = write(SWEEPS)
    sweeps = konfig.find_sweeps(path)
    assert list(sweeps) == ["default", "model", "bad"]
    assert sweeps["default"].description == "Learning rates."
    assert sweeps["default"].items() == [
        {"optimizer.learning_rate": 1e-3},
        {"optimizer.learning_rate": 3e-4},
    ]


def test_sweeps_multiply(write):
    path = write(SWEEPS)
    assert len(konfig.expand_sweeps(path)) == 2
    assert konfig.expand_sweeps(path, False) == [{}]
    both = konfig.expand_sweeps(path, "model,default")
    assert len(both) == 4
    assert both[0] == {
        "model.dtype": "bfloat16",
        "__args__.x": None,
        "optimizer.learning_rate": 1e-3,
    }
    with pytest.raises(KeyError, match=r"no sweep 'modle'.*Did you mean 'model'"):
        konfig.expand_sweeps(path, ["modle"])
    with pytest.raises(TypeError, match=r"sweep_bad\(\) must yield dicts"):
        konfig.expand_sweeps(path, "bad")
    forgetful = write("def sweep():\n    pass\n")
    with pytest.raises(TypeError, match=r"sweep\(\) in .* returns nothing"):
        konfig.expand_sweeps(forgetful)


def test_sweep_items_as_flags_mean_the_same(write):
    path = write(SWEEPS)
    item = konfig.expand_sweeps(path, "model")[1]
    flags = konfig.to_flags(item)
    assert flags[1] == "--cfg.seed=1"
    parsed = konfig.load_config_file(path, overrides=konfig.parse_overrides(flags))
    direct = konfig.load_config_file(path, overrides=item)
    with direct.ignore_type():
        direct.model.features = [1, 2]  # JSON has no tuples
    assert parsed == direct


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, None, "text", "5", "None", "true", " a ", "", "py::x", "{", [1, "a"],
     (1, 2), {"a": [1, None]}, "a=b"],
)  # fmt: skip
def test_flag_values_parse_to_themselves(value):
    cfg = ConfigDict({"x": None})
    (flag,) = konfig.to_flags({"x": value})
    konfig.apply_overrides(cfg, konfig.parse_overrides([flag]))
    assert cfg == ConfigDict({"x": value})


def test_shared_dict_is_written_where_it_is_first():
    cfg = ConfigDict({"a": {"x": 1}})
    cfg.b = [cfg.a]
    text = konfig.to_python(cfg)
    assert '    cfg.a = {"x": 1}\n    cfg.b = [cfg.a]\n' in text
