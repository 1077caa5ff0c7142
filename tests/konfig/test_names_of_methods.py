"""Fields that have the name of a method of dicts, and arguments given by position."""

from __future__ import annotations

import copy
import json
import sys
import types

import konfig_targets
import pytest

from kauldron import konfig

with konfig.imports():
    import konfig_targets as targets

METHODS = sorted(n for n in dir(konfig.ConfigDict()) if not n.startswith("_"))
PROPERTIES = {"ref", "is_locked", "is_type_safe", "convert_dict", "allow_dotted_keys"}
METHODS = [n for n in METHODS if n not in PROPERTIES]


def test_list_of_methods_is_that_of_dicts_and_configs():
    assert {"values", "items", "keys", "get", "update", "pop", "lock"} <= {*METHODS}
    assert {"to_json", "copy_and_resolve_references"} <= {*METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_argument_of_a_call_is_the_field(name):
    cfg = konfig.ConfigDict({"loss": targets.Box(**{name: "preds.x"})})
    assert getattr(cfg.loss, name) == cfg.loss[name] == "preds.x"
    setattr(cfg.loss, name, "preds.y")
    assert getattr(cfg.loss, name) == cfg.loss[name] == "preds.y"
    assert konfig.resolve(cfg)["loss"] == konfig_targets.Box(**{name: "preds.y"})
    delattr(cfg.loss, name)
    assert name not in cfg.loss and callable(getattr(cfg.loss, name))


@pytest.mark.parametrize("name", METHODS)
def test_config_with_such_an_argument_works_as_a_whole(name):
    cfg = konfig.ConfigDict({"loss": targets.Box(**{name: 1}), "n": 2})
    cfg.linked = cfg.ref.loss[name]
    assert copy.deepcopy(cfg) == cfg
    assert konfig.ConfigDict(json.loads(cfg.to_json())).loss == cfg.loss
    assert f"{name}=1" in repr(cfg)
    assert not konfig.diff(cfg, copy.deepcopy(cfg))
    assert not konfig.check(cfg)
    assert konfig.ConfigDict(cfg) == cfg
    cfg.update({"loss": targets.Box(**{name: 3})})
    assert cfg.loss[name] == 3
    konfig.apply_overrides(cfg, konfig.parse_overrides([f"--cfg.loss.{name}=4"]))
    assert cfg.loss[name] == 4
    cfg.lock()
    assert cfg.loss.__dict__["_locked"]
    cfg.unlock()
    namespace: dict = {}
    exec(konfig.to_python(cfg), namespace)
    assert namespace["get_config"]().loss == cfg.loss


@pytest.mark.parametrize("name", METHODS)
def test_plain_dict_keeps_its_methods(name):
    cfg = konfig.ConfigDict({"aux": {name: 1}})
    assert callable(getattr(cfg.aux, name))
    assert cfg.aux[name] == 1
    with pytest.raises(AttributeError, match=rf"write `cfg\['{name}'\] = ...`"):
        setattr(cfg.aux, name, 2)
    cfg.aux[name] = 2
    assert cfg.aux[name] == 2 and dict(cfg.aux) == {name: 2}


@pytest.mark.parametrize("name", sorted(PROPERTIES))
def test_properties_of_configs_are_no_fields(name):
    for cfg in (konfig.ConfigDict(), targets.Box()):
        with pytest.raises(AttributeError, match="is not a field"):
            setattr(cfg, name, 2)


def test_argument_by_position_is_reached_by_its_name():
    cfg = konfig.ConfigDict({"optimizer": targets.adam(0.0)})
    assert cfg.optimizer.learning_rate == cfg.optimizer["learning_rate"] == 0.0
    cfg.optimizer.learning_rate = 3.0
    assert cfg.optimizer[0] == 3.0
    assert konfig.resolve(cfg)["optimizer"] == ("adam", 3.0, 0.9, 0.999)
    cfg.optimizer["learning_rate"] = 4.0
    assert repr(cfg.optimizer) == "<ConfigDict[konfig_targets.adam(4.0)]>"
    cfg.lr = cfg.ref.optimizer.learning_rate
    cfg.optimizer.learning_rate = 5.0
    assert cfg.lr == 5.0


def test_flag_and_assignment_by_name_are_the_same():
    by_flag = konfig.ConfigDict({"optimizer": targets.adam(0.0, b1=0.5)})
    by_hand = copy.deepcopy(by_flag)
    flags = konfig.parse_overrides(["--cfg.optimizer.learning_rate=3.0"])
    konfig.apply_overrides(by_flag, flags)
    by_hand.optimizer.learning_rate = 3.0
    assert by_flag == by_hand


def test_argument_by_position_has_its_type():
    cfg = targets.adam(0.5)
    with pytest.raises(TypeError, match="holds float"):
        cfg.learning_rate = "fast"


def test_name_of_no_argument_by_position_is_a_field():
    cfg = targets.adam(0.0)
    cfg.b1 = 0.5
    assert cfg == targets.adam(0.0, b1=0.5)
    with pytest.raises(AttributeError, match="has no field 'b2'"):
        _ = cfg.b2


def test_what_cannot_be_imported_is_asked_nothing():
    cfg = konfig.ConfigDict({"__qualname__": "no_such_module_here:f", "0": 1})
    cfg.name = 2
    assert cfg["name"] == 2
    with pytest.raises(AttributeError):
        _ = cfg.other


def test_nothing_is_imported_for_calls_without_positional_arguments():
    cfg = konfig.ConfigDict({"__qualname__": "this:f", "a": 1})
    cfg.b = 2
    assert not hasattr(cfg, "c")
    assert "this" not in sys.modules
    assert isinstance(types, types.ModuleType)


def test_argument_given_twice_in_one_call_stays_an_error():
    with pytest.raises(TypeError, match="gets 'learning_rate' twice"):
        konfig.resolve(targets.adam(0.1, learning_rate=0.2))
