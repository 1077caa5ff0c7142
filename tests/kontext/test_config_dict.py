"""Paths into configs: what overrides are made of."""

import pytest

from kauldron import konfig, kontext


@pytest.fixture
def cfg():
    call = konfig.ConfigDict({"__qualname__": "m:f", "0": 5, "k": 2})
    return konfig.ConfigDict(
        {"a": {"x": 1, "items": 3}, "b": [{"x": 2}, {}], "n": call}
    )


def test_reading(cfg):
    assert kontext.get_by_path(cfg, "a.items") == 3
    assert kontext.get_by_path(cfg, "n[0]") == 5
    assert kontext.get_by_path(cfg, "b[-2].x") == 2
    assert kontext.get_by_path(cfg, "keys", None) is None
    with pytest.raises(KeyError, match=r"Did you mean 'a\.items'"):
        kontext.get_by_path(cfg, "a.itmes")


def test_setting(cfg):
    assert kontext.set_by_path(cfg, "**.x", 7) == ["a.x", "b[0].x"]
    assert kontext.set_by_path(cfg, "b.*.y", 1) == ["b[0].y", "b[1].y"]
    assert kontext.set_by_path(cfg, "n[0]", 9) == ["n[0]"]
    assert cfg.a.x == cfg.b[0]["x"] == 7 and cfg.b[1]["y"] == 1 and cfg.n[0] == 9


def test_filtering_and_flattening(cfg):
    assert kontext.filter_by_path(cfg, "**.x").a.x == 1
    assert kontext.flatten_with_path(cfg)["b[0].x"] == 2
    cfg.r = cfg.ref.a.x
    assert kontext.flatten_with_path(cfg)["r"] == 1


def test_path_builders_are_config_values(cfg):
    cfg.key = kontext.path_builder_from("batch", dict)["image"]
    assert cfg.key == "batch.image"
