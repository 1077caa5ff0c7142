"""What messages say about what was meant: configs made by functions, names, globs."""

from __future__ import annotations

import dataclasses
import json
import sys
import types

import pytest

from kauldron import konfig, kontext
from kauldron.konfig import _origin

with konfig.imports():
    import konfig_targets as targets


@pytest.fixture
def config_module(monkeypatch):
    """A module of the user with functions that return configs."""
    module = types.ModuleType("my_config_module")

    def get_config():
        return konfig.ConfigDict()

    def base(width: int = 1) -> konfig.ConfigDict:
        return konfig.ConfigDict({"width": width})

    vars(module).update(get_config=get_config, base=base)
    monkeypatch.setitem(sys.modules, "my_config_module", module)
    return module


@pytest.mark.parametrize("function", ["get_config", "base"])
def test_function_that_returns_a_config_was_called_in_the_block(
    config_module, function
):
    with konfig.imports():
        import my_config_module
    cfg = getattr(my_config_module, function)()
    cfg.model = 3
    with pytest.raises(TypeError, match="has no argument 'model'") as info:
        konfig.resolve(cfg)
    assert "Call it outside of the block" in str(info.value)
    assert "konfig.mock_modules()" in str(info.value)


def test_other_functions_get_no_such_hint():
    with pytest.raises(TypeError) as info:
        konfig.resolve(targets.adam(0.1, b3=1))
    assert "outside of the block" not in str(info.value)


@dataclasses.dataclass
class Loss:
    logits: kontext.Key = kontext.REQUIRED


def test_required_keys_are_shown_as_required(monkeypatch):
    monkeypatch.setattr(sys.modules["konfig_targets"], "Loss", Loss, raising=False)
    cfg = targets.Loss()
    cfg.lables = 1
    (problem,) = konfig.check(cfg)
    assert "Its arguments: logits=required." in problem.message
    assert repr(Loss()) == "Loss(logits=required)"
    plain = konfig.ConfigDict({"logits": str(kontext.REQUIRED)})
    assert repr(plain) == "<ConfigDict[{'logits': required}]>"
    changed = konfig.ConfigDict({"logits": "preds"})
    assert str(konfig.diff(plain, changed)) == "~ cfg.logits: required -> 'preds'"
    assert konfig.record(targets.Loss())["logits"] == "required"
    # The value itself is the text that published code compares with.
    assert kontext.REQUIRED == "__kontext_required__"
    assert json.loads(json.dumps(Loss().logits)) == "__kontext_required__"


@pytest.mark.parametrize(
    "name",
    [
        "copy_task",
        "copy_models",
        "copyright",
        "abc_net",
        "contextlib_extra",
        "ml_collections2",
    ],
)
def test_module_of_the_user_whose_name_begins_like_a_library(name):
    code = compile("\n\nnode = make()\n", f"/home/me/{name}.py", "exec")
    namespace = {"make": lambda: konfig.ConfigDict({"a": 1}), "__name__": name}
    exec(code, namespace)
    # The lambda is of this file; the line above it is of the module.
    namespace = {"make": konfig.ConfigDict, "__name__": name}
    exec(code, namespace)
    assert namespace["node"]._origin == (f"/home/me/{name}.py", 3)


@pytest.mark.parametrize(
    "name", ["copy", "abc", "contextlib", "kauldron.konfig.tree._nodes"]
)
def test_libraries_between_the_user_and_konfig_are_skipped(name):
    assert _origin._is_skipped(name)


CONFIG = {
    "seed": 42,
    "empty": {},
    "evals": {"a": {"metrics": {"x": 1}}, "b": {"n": 2}},
    "list": [{"size": 1}],
    "model": {"__qualname__": "collections:OrderedDict"},
}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("zzz.*.n", "`cfg` has no field 'zzz'."),
        ("evls.*.n", "`cfg` has no field 'evls'. Did you mean 'evals'?"),
        ("evls.**.n", "`cfg` has no field 'evls'. Did you mean 'evals'?"),
        ("evals.c.*.n", "`cfg.evals` has no field 'c'."),
        (
            "evals.*.metrix.x",
            "matches `cfg.evals.*` has a field 'metrix'. Did you mean 'metrics'?",
        ),
        ("evals.*.metrics.y.z", "`cfg.evals.*.metrics` has a field 'y'"),
        ("**.metrix", "No node of the config sets 'metrix'. Did you mean 'metrics'?"),
        ("**.metrics.y", "matches `cfg.**.metrics` has a field 'y'. Did you mean 'x'?"),
        ("evals.**.siez", "matches `cfg.evals.**` has a field 'siez'."),
        (
            "list.*.siez.a",
            "matches `cfg.list.*` has a field 'siez'. Did you mean 'size'?",
        ),
        ("seed.*.n", "There is nothing below `cfg.seed`."),
        ("empty.*.n", "There is nothing below `cfg.empty`."),
        ("*.__qualname__.n", "matches `cfg.*.__qualname__` has a field 'n'."),
    ],
)
def test_glob_without_a_match_names_the_part_that_is_missing(path, words):
    cfg = konfig.ConfigDict(CONFIG)
    with pytest.raises(KeyError) as info:
        konfig.apply_overrides(cfg, konfig.parse_overrides([f"--cfg.{path}=1"]))
    assert f"--cfg.{path}=1: no field matches. " in str(info.value)
    assert words in str(info.value)
    assert cfg == konfig.ConfigDict(CONFIG)


def all_of(value):
    return {
        "x": {"x": {"n": value}, "y": {"n": value}},
        "y": {"x": {"n": value}},
    }


@pytest.mark.parametrize(
    ("flags", "path", "expected"),
    [
        # A field named in full, then fewer `**`, then fewer `*`.
        (["x.x.n=1", "x.x.*=2"], "x.x.n", 1),
        (["x.x.n=1", "**.x.n=2"], "x.x.n", 1),
        (["x.*.n=1", "*.*.n=2"], "x.x.n", 1),
        (["x.*.n=1", "*.*.n=2"], "y.x.n", 2),
        (["*.x.n=1", "*.*.n=2"], "x.x.n", 1),
        (["*.*.n=1", "**.x.n=2"], "x.x.n", 1),
        (["*.x.*=1", "**.x.n=2"], "y.x.n", 1),
        (["x.**.n=1", "**.**.n=2"], "x.y.n", 1),
        (["*.**.n=1", "x.**.n=2"], "x.y.n", 2),
        (["*.**.n=1", "x.**.n=2"], "y.x.n", 1),
        (["x.x.n=1", "x.*.n=2", "**.y.n=3"], "x.y.n", 2),
        (["x.x.n=1", "x.*.n=2", "**.y.n=3"], "x.x.n", 1),
    ],
)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_precedence_of_globs_that_overlap(flags, path, expected, is_reversed):
    flags = [f"--cfg.{f}" for f in (reversed(flags) if is_reversed else flags)]
    cfg = konfig.ConfigDict(all_of(0))
    konfig.apply_overrides(cfg, konfig.parse_overrides(flags))
    assert kontext.get_by_path(cfg, path) == expected


@pytest.mark.parametrize(
    "flags",
    [["x.*.n=1", "*.x.n=2"], ["**.x.n=1", "x.**.n=2"], ["x.*.*=1", "*.x.*=2"]],
)
def test_globs_that_are_equally_specific_and_disagree_are_refused(flags):
    cfg = konfig.ConfigDict(all_of(0))
    overrides = konfig.parse_overrides([f"--cfg.{f}" for f in flags])
    with pytest.raises(konfig.ConfigError, match="Say which is meant"):
        konfig.apply_overrides(cfg, overrides)
    agreeing = [f"--cfg.{f[:-1]}1" for f in flags]
    konfig.apply_overrides(cfg, konfig.parse_overrides(agreeing))
    assert cfg.x.x.n == 1


def test_names_that_are_not_trusted_share_one_line(tmp_path):
    nodes = [
        {"__qualname__": f"my_project.part{i % 3}:Class{i}", "x": 1} for i in range(9)
    ]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"parts": nodes, "other": {"__const__": "lib2:f"}}))
    with pytest.raises(konfig.UntrustedError) as info:
        konfig.resolve(konfig.load(path))
    (line,) = str(info.value).splitlines()
    assert "names 10 things that are refused" in line
    assert line.count("--trust=") == 1 and "--trust=my_project,lib2" in line
    assert len(konfig.check(konfig.load(path))) == 10
