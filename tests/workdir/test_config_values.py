"""Values of a config by path, as `config.json` holds them."""

from __future__ import annotations

from kauldron.workdir import config_values


def test_a_node_that_is_used_twice_has_its_values_at_both_places():
    schedule = {"__id__": 0, "__qualname__": "optax:linear", "init_value": 0.1}
    config = {"__qualname__": "kd:Trainer", "rate": schedule, "adam": [{"__id__": 0}]}
    assert config_values.leaves(config) == {
        "cfg": "Trainer",
        "rate": "linear",
        "rate.init_value": 0.1,
        "adam[0]": "linear",
        "adam[0].init_value": 0.1,
    }


def test_a_reference_before_its_node_and_one_to_itself_end():
    config = {
        "first": {"__id__": 1},
        "node": {"__id__": 1, "x": 1, "me": {"__id__": 1}},
    }
    assert config_values.leaves(config) == {"first.x": 1, "node.x": 1}
