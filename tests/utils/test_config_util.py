"""Root references: what was left unset follows the root, what was set stays."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest

from kauldron._base import root_refs
from kauldron.utils import config_util
from kauldron.utils.config_util import ROOT_CFG_REF, UpdateFromRootCfg


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part(UpdateFromRootCfg):
    seed: int = ROOT_CFG_REF.seed
    width: int = ROOT_CFG_REF.aux.width
    other: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole(UpdateFromRootCfg):
    part: Part = dataclasses.field(default_factory=Part)
    parts: Any = ()
    __root_cfg_fields_to_recurse__: ClassVar[tuple[str, ...]] = ("parts",)


@dataclasses.dataclass(frozen=True)
class Aux:
    width: int = 8


@dataclasses.dataclass(frozen=True)
class Root:
    seed: int = 1
    aux: Aux = Aux()


def test_unset_fields_take_the_values_of_the_root():
    part = Part().update_from_root_cfg(Root(seed=5))
    assert (part.seed, part.width, part.other) == (5, 8, 3)


def test_set_fields_stay():
    part = Part(seed=7).update_from_root_cfg(Root(seed=5))
    assert part.seed == 7


def test_inherited_fields_follow_a_new_root():
    part = Part().update_from_root_cfg(Root(seed=5)).update_from_root_cfg(Root(seed=6))
    assert part.seed == 6


@pytest.mark.parametrize("replace", [dataclasses.replace, Part.replace])
def test_replacing_one_field_keeps_the_others_inherited(replace):
    bound = Part().update_from_root_cfg(Root(seed=5))
    part = replace(bound, width=100).update_from_root_cfg(Root(seed=6))
    assert (part.seed, part.width) == (6, 100)


def test_a_value_made_from_an_inherited_one_follows_the_root():
    bound = Part(width=2).update_from_root_cfg(Root(seed=5))
    made = bound.replace_inherited(seed=50, width=20)
    assert (made.seed, made.width) == (50, 20)
    again = made.update_from_root_cfg(Root(seed=6))
    assert (again.seed, again.width) == (6, 20)  # what was set stays


def test_replacing_by_the_inherited_value_is_setting_it():
    bound = Part().update_from_root_cfg(Root(seed=5))
    assert bound.replace(seed=5).update_from_root_cfg(Root(seed=6)).seed == 5


def test_nested_parts_are_bound_too():
    whole = Whole(parts={"a": [Part(seed=9), Part()]}).update_from_root_cfg(Root())
    assert whole.part.seed == 1
    assert [p.seed for p in whole.parts["a"]] == [9, 1]


def test_binding_twice_to_one_root_gives_the_same_object():
    root = Root()
    bound = Whole().update_from_root_cfg(root)
    assert bound.update_from_root_cfg(root) is bound


def test_unbound_field_is_named():
    with pytest.raises(ValueError, match=r"`Part\.seed` is not set"):
        Part()._assert_root_cfg_resolved()


def test_base_config_makes_frozen_keyword_only_dataclasses():
    class Config(config_util.BaseConfig):
        a: int = 1

    assert Config(a=2).replace(a=3).a == 3
    with pytest.raises(TypeError):
        Config(2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().a = 5


class _Part(config_util.UpdateFromRootCfg, root_refs.FrozenSubclasses):
    pass


class _Undecorated(_Part):
    size: int = 3
    names: list = dataclasses.field(default_factory=list)
    cached: int = dataclasses.field(default=4, init=False, repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Decorated(_Undecorated):
    options: dict = dataclasses.field(default_factory=dict, repr=False)
    hidden: int = dataclasses.field(default=7, init=False, metadata={"a": 1})


class _Below(_Decorated):
    flag: bool = False


@pytest.mark.parametrize("cls", [_Undecorated, _Decorated, _Below])
def test_subclasses_are_frozen_keyword_only_dataclasses_decorated_or_not(cls):
    part = cls(size=5)
    assert (part.size, part.names, part.cached) == (5, [], 4)
    assert part.names is not cls(size=5).names
    assert part != cls(size=5)  # by identity
    assert part.replace(size=6).size == 6
    assert {f.name: f.init for f in dataclasses.fields(cls)}["cached"] is False
    assert "size=5" in repr(part) and "cached" not in repr(part)
    with pytest.raises(TypeError):
        cls(5)
    for name in ("size", "unknown"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(part, name)


def test_what_a_field_says_of_itself_survives_a_second_decorator():
    part = _Below(options={"a": 1}, flag=True)
    assert (part.options, part.hidden, part.flag) == ({"a": 1}, 7, True)
    fields = {f.name: f for f in dataclasses.fields(_Below)}
    assert not fields["options"].repr
    assert not fields["hidden"].init and fields["hidden"].metadata == {"a": 1}
