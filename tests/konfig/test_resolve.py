"""`konfig.resolve` and `konfig.check`."""

import copy
import datetime
import json
import pathlib

import konfig_targets
import pytest

from kauldron import errors, konfig
from kauldron.utils import immutabledict

with konfig.imports():
    import konfig_targets as targets

ConfigDict = konfig.ConfigDict


def test_calls_are_made_with_positional_and_named_arguments():
    assert konfig.resolve(targets.adam(0.1, b1=0.5)) == ("adam", 0.1, 0.5, 0.999)


def test_freezes_by_default():
    cfg = ConfigDict({"l": [1, {"a": [2]}], "s": {3}})
    frozen = konfig.resolve(cfg)
    assert frozen.l == (1, {"a": (2,)}) and type(frozen) is immutabledict.ImmutableDict
    assert type(frozen.l[1]) is immutabledict.ImmutableDict
    hash(frozen)
    plain = konfig.resolve(cfg, freeze=False)
    assert plain == {"l": [1, {"a": [2]}], "s": {3}} and type(plain) is dict
    assert type(plain["l"]) is list and type(plain["l"][1]) is dict


def test_no_freeze_key_inverts_freezing_and_is_removed():
    cfg = ConfigDict({"l": [1], "_konfig_experimental_nofreeze": True})
    assert konfig.resolve(cfg) == {"l": [1]}
    assert "_konfig_experimental_nofreeze" in cfg


def test_unknown_sequences_cannot_be_frozen():
    class MyList(list):
        pass

    cfg = ConfigDict({"a": MyList([1])})
    with pytest.raises(TypeError, match=r"cannot be frozen"):
        konfig.resolve(cfg)
    assert konfig.resolve(cfg, freeze=False)["a"] == [1]


def test_namedtuples_stay_namedtuples():
    cfg = ConfigDict({"p": konfig_targets.Pair(1, {"a": targets.Net})})
    assert konfig.resolve(cfg).p == konfig_targets.Pair(1, {"a": konfig_targets.Net})


def test_shared_nodes_give_one_object_and_equal_ones_several():
    cfg = ConfigDict({"a": targets.Box(1)})
    cfg.b, cfg.c = [cfg.a], targets.Box(1)
    resolved = konfig.resolve(cfg)
    assert resolved.a is resolved.b[0]
    assert resolved.a is not resolved.c and resolved.a == resolved.c


def test_plain_dicts_from_json_are_resolved():
    data = json.loads(
        '{"__qualname__": "konfig_targets:Box", "0": 0.1, "act": {"__const__": "math:pi"}}'
    )
    assert konfig.resolve(data) == konfig_targets.Box(0.1, act=3.141592653589793)
    assert konfig.resolve([{"__const__": "pathlib:Path"}])[0].__name__ == "Path"


def test_qualname_without_colon_takes_the_last_name_as_attribute():
    assert konfig.resolve({"__qualname__": "konfig_targets.Box.made", "0": 1}).args == (
        1,
    )


def test_submodule_that_its_package_does_not_import_is_found():
    cfg = ConfigDict({"__qualname__": "xml:dom.minidom.Document"})
    assert type(konfig.resolve(cfg)).__name__ == "Document"


def test_excluded_fields_stay_configs_and_post_resolve_gets_the_node():
    cfg = targets.Trainer(model=None, xm_job=targets.Box(1))
    trainer = konfig.resolve(cfg)
    assert trainer.xm_job is cfg.xm_job
    assert trainer.raw_cfg is cfg


def test_resolving_is_pure():
    cfg = targets.Box({"a": [1]}, b=targets.Box())
    before = copy.deepcopy(cfg)
    first, second = konfig.resolve(cfg), konfig.resolve(cfg)
    assert first == second and first is not second and cfg == before
    assert konfig.resolve(copy.deepcopy(cfg)) == first


def test_config_that_contains_itself_is_refused():
    cfg = targets.Box()
    cfg.me = {"deep": cfg}
    with pytest.raises(ValueError, match=r"contains itself"):
        konfig.resolve(cfg)


# Errors.


@pytest.mark.parametrize(
    "error_type",
    [TypeError, ValueError, KeyError, OSError, RuntimeError, ZeroDivisionError],
)
def test_error_of_a_constructor_names_field_file_and_line(error_type):
    error = {"__const__": f"builtins:{error_type.__name__}"}
    cfg = ConfigDict({"a": [0, {"b c": targets.Picky(error)}]})
    line = cfg.a[1]["b c"]._origin.line
    with pytest.raises(error_type) as info:
        konfig.resolve(cfg)
    assert isinstance(info.value, errors.UserError)
    assert type(info.value.__cause__) is error_type
    message = str(info.value)
    assert message.startswith("Error resolving the config:\n  In `cfg.a[1]['b c']` (")
    assert f"test_resolve.py:{line})" in message
    assert f"konfig_targets.Picky(builtins.{error_type.__name__})" in message
    assert message.endswith("that is not picky enough") or error_type is KeyError


def test_long_nodes_are_cut_in_errors():
    cfg = targets.Picky({"__const__": "builtins:ValueError"})
    cfg["0"] = ConfigDict({"__const__": "builtins:ValueError"})
    outer = ConfigDict({"x": cfg, "big": ["long text"] * 1000})
    outer.y = targets.cosine(init_value="a" * 2000, decay_steps=1)
    with pytest.raises(TypeError) as info:
        konfig.resolve(outer)
    assert len(str(info.value)) < 600


def test_unknown_argument_is_found_before_anything_is_built():
    cfg = ConfigDict({"bad": targets.Picky({"__const__": "builtins:ValueError"})})
    cfg.o = targets.adam(learning_rate=1)
    cfg.o.learning_rte = 3
    line = cfg.o._origins["learning_rte"].line
    with pytest.raises(TypeError) as info:
        konfig.resolve(cfg)
    message = str(info.value)
    assert "In `cfg.o.learning_rte`" in message
    assert f"test_resolve.py:{line}" in message
    assert (
        "`konfig_targets.adam` has no argument 'learning_rte'. "
        "Did you mean 'learning_rate'?\n"
        "  Its arguments: learning_rate, b1=0.9, b2=0.999."
    ) in message


def test_bad_argument_of_a_plain_dict():
    with pytest.raises(TypeError, match=r"has no argument 'zzz'"):
        konfig.resolve({"__qualname__": "konfig_targets:adam", "0": 1, "zzz": 2})


@pytest.mark.parametrize(
    ("qualname", "words"),
    [
        ("konfig_targts:Box", "there is no module 'konfig_targts'. Did you mean 'konfig_targets'"),
        ("konfig_targets:Bxo", "'konfig_targets' has no 'Bxo'. Did you mean 'Box'"),
        ("konfig_targets:Box.mad", "'konfig_targets.Box' has no 'mad'. Did you mean 'made'"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_imported(qualname, words):
    with pytest.raises(ImportError) as info:
        konfig.resolve({"a": {"__qualname__": qualname}})
    assert "In `cfg.a`" in str(info.value) and words in str(info.value)


def test_a_module_that_has_come_since_the_last_mistake_is_near(write, monkeypatch):
    folder = write("", "other_module.py").removesuffix("/other_module.py")
    monkeypatch.syspath_prepend(folder)
    for is_there in (False, True):
        with pytest.raises(ImportError) as info:
            konfig.resolve({"__qualname__": "zebra_crosing:Box"})
        assert ("Did you mean 'zebra_crossing'?" in str(info.value)) is is_there
        write("", "zebra_crossing.py")


def test_module_that_fails_to_import_another(write, monkeypatch):
    path = write("import not_there_at_all\n", "needs_more.py")
    monkeypatch.syspath_prepend(path.removesuffix("/needs_more.py"))
    with pytest.raises(ImportError, match=r"Importing `needs_more` for `needs_more.f`"):
        konfig.resolve({"__qualname__": "needs_more:f"})


def test_several_mistakes_are_told_at_once():
    cfg = ConfigDict({"a": targets.adam(), "b": targets.cosine(1.0, 2, zz=3)})
    with pytest.raises(TypeError, match=r"The config has 2 mistakes") as info:
        konfig.resolve(cfg)
    assert "missing: 'learning_rate'" in str(info.value)
    assert "'zz'" in str(info.value)


# Check.


def _kinds(cfg):
    return [(p.field, p.kind) for p in konfig.check(cfg)]


def test_check_finds_everything_at_once():
    cfg = targets.Trainer(num_train_steps="many", mode="trian", zzz=1)
    cfg.optimizer = targets.adam(1, 2, 3, 4)
    cfg.schedules = {"a": targets.cosine(init_value=1.0)}
    cfg.evals = {"e": {"__qualname__": "konfig_targets:Evaluatr"}}
    cfg.setup = targets.Setup(is_quiet=konfig.required(bool))
    cfg.workdir = cfg.ref.nowhere
    cfg.aux = {"used": 1, "unused": 2}
    cfg.seed = cfg.ref.aux.used
    assert sorted(_kinds(cfg)) == sorted(
        [
            ("cfg.zzz", "unknown_argument"),
            ("cfg", "missing_argument"),
            ("cfg.num_train_steps", "type"),
            ("cfg.mode", "type"),
            ("cfg.optimizer", "unknown_argument"),
            ("cfg.schedules.a", "missing_argument"),
            ("cfg.evals.e", "import"),
            ("cfg.setup.is_quiet", "required"),
            ("cfg.workdir", "reference"),
            ("cfg.aux.unused", "unused"),
        ]
    )


@pytest.mark.parametrize(
    ("value", "num_problems"), [(True, 1), (1, 0), (0.5, 0), ("1", 1), (None, 0)]
)
def test_bool_is_no_float(value, num_problems):
    assert len(konfig.check(targets.adam(0.1, b1=value))) == num_problems


def test_check_messages():
    cfg = targets.Trainer(model=1, num_train_steps="many")
    (problem,) = konfig.check(cfg)
    assert problem.message == (
        "`konfig_targets.Trainer` expects int | None, got 'many' (str)."
    )
    assert str(problem).startswith("In `cfg.num_train_steps` (")


def test_good_configs_have_no_problems():
    cfg = targets.Trainer(model=targets.Net(inputs="x"), num_train_steps=10)
    cfg.aux = {"n": 1}
    cfg.stop_after_steps = cfg.ref.aux.n
    assert konfig.check(cfg) == []
    cfg.schedules = {"all": cfg.ref.aux}
    cfg.aux.other = 3
    assert konfig.check(cfg) == []


@pytest.mark.parametrize(
    "cfg",
    [
        {"__qualname__": "konfig_targets:Color", "0": "red"},
        {"__qualname__": "konfig_targets:Box", "0": 1, "5": 2, "anything": 3},
        {"__qualname__": "builtins:dict", "a": 1},
        {"__qualname__": "konfig_targets:cosine", "0": 1, "1": 10.0},
        {
            "__qualname__": "functools:partial",
            "0": {"__const__": "konfig_targets:adam"},
        },
    ],
)
def test_check_accepts_what_python_accepts(cfg):
    assert [p for p in konfig.check(cfg) if p.is_error] == []


def test_check_looks_into_partials():
    cfg = {
        "__qualname__": "functools:partial",
        "0": {"__const__": "konfig_targets:adam"},
        "learning_rte": 1,
    }
    (problem,) = konfig.check(cfg)
    assert "Did you mean 'learning_rate'" in problem.message


def test_check_builds_nothing():
    cfg = ConfigDict({"a": targets.Picky({"__const__": "builtins:ValueError"})})
    assert konfig.check(cfg) == []


def test_unhashable_and_strange_targets_are_tolerated(write, monkeypatch):
    path = write(
        """
        class Unhashable:
            __hash__ = None

            def __call__(self, a: "NotDefined" = 1, b: int = 2):
                return a + b


        f = Unhashable()
        """,
        "strange.py",
    )
    monkeypatch.syspath_prepend(path.removesuffix("/strange.py"))
    assert konfig.resolve({"__qualname__": "strange:f", "b": 5}) == 6
    (problem,) = konfig.check({"__qualname__": "strange:f", "c": 5})
    assert "no argument 'c'" in problem.message


def test_timedelta_from_the_docstring():
    cfg = konfig.ConfigDict({"__qualname__": "datetime:timedelta", "hours": 2})
    assert konfig.resolve(cfg) == datetime.timedelta(hours=2)


def test_error_in_a_constructor_of_the_user_names_its_lines(write, monkeypatch):
    path = write(
        """
        def check(width):
            if width < 0:
                raise ValueError(f"width must be positive, got {width}")


        class Model:
            def __init__(self, width):
                check(width)
        """,
        "models_of_the_user.py",
    )
    monkeypatch.syspath_prepend(str(pathlib.Path(path).parent))
    with konfig.imports():
        import models_of_the_user

    cfg = konfig.ConfigDict({"model": models_of_the_user.Model(width=-1)})
    with pytest.raises(ValueError) as info:
        konfig.resolve(cfg)
    lines = str(info.value).splitlines()
    assert "In `cfg.model` (" in lines[1] and "test_resolve.py:" in lines[1]
    assert lines[3].endswith("models_of_the_user.py:9, in __init__")
    assert lines[4].strip() == "check(width)"
    assert lines[5].endswith("models_of_the_user.py:4, in check")
    assert lines[-1] == "ValueError: width must be positive, got -1"


def test_name_that_left_its_private_file_is_found_in_the_package():
    cfg = konfig.ConfigDict({"__qualname__": "json._scanner_of_old:JSONDecoder"})
    assert isinstance(konfig.resolve(cfg), json.JSONDecoder)


def test_name_that_is_nowhere_is_told_as_it_was_written():
    cfg = konfig.ConfigDict({"__qualname__": "json._scanner_of_old:JSONDecodr"})
    with pytest.raises(konfig.ConfigError, match="_scanner_of_old"):
        konfig.resolve(cfg)
