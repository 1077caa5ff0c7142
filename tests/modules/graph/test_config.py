"""A graph in a config: overrides by name, JSON there and back, one resolved model."""

from __future__ import annotations

import json

import pytest

from kauldron import kd, konfig

with konfig.imports():
    import jax.numpy as jnp
    from flax import linen as nn

    from kauldron import kd as lazy_kd


@pytest.fixture
def cfg():
    return konfig.ConfigDict(
        {
            "model": lazy_kd.nn.Graph(
                nodes={
                    "encoder": lazy_kd.nn.Node(nn.Dense(16), inputs="batch.image"),
                    "both": lazy_kd.nn.Node(jnp.add, inputs=["encoder", "embedding"]),
                    "embedding": lazy_kd.nn.Node(
                        nn.Embed(10, 16), inputs={"inputs": "batch.label"}
                    ),
                    "head": lazy_kd.nn.Node("dense", inputs="both", when="always"),
                },
                shared={"dense": nn.Dense(1)},
                outputs={"score": "head"},
            )
        }
    )


def test_parts_of_a_graph_are_changed_by_name(cfg):
    overrides = [
        "--cfg.model.nodes.encoder.module.features=64",
        "--cfg.model.nodes.head.inputs=encoder",
        "--cfg.model.nodes.encoder.frozen=True",
        "--cfg.model.shared.dense.features=2",
        "--cfg.model.nodes.embedding.inputs.inputs=batch.class",
        "--cfg.model.outputs.both=both",
    ]
    konfig.apply_overrides(cfg, konfig.parse_overrides(overrides))
    graph = konfig.resolve(cfg).model
    assert graph.nodes["encoder"].module.features == 64
    assert graph.nodes["encoder"].frozen
    assert graph.nodes["head"].inputs == "encoder"
    assert graph.nodes["embedding"].inputs == {"inputs": "batch.class"}
    assert graph.shared["dense"].features == 2
    assert graph.outputs == {"score": "head", "both": "both"}


def test_node_is_added_on_the_command_line_and_runs_where_it_is_needed(cfg):
    overrides = [
        '--cfg.model.nodes.wide=py::kd.nn.Node(flax.linen.Dense(64), inputs="both")',
        "--cfg.model.nodes.head.inputs=wide",
    ]
    konfig.apply_overrides(cfg, konfig.parse_overrides(overrides))
    graph = konfig.resolve(cfg).model
    order = [step.name for step in graph.plan.steps]
    assert order == ["encoder", "embedding", "both", "wide", "head"]
    assert graph.nodes["wide"].module.features == 64


def test_config_of_a_graph_survives_json(cfg):
    text = json.dumps(json.loads(cfg.to_json()), sort_keys=True)
    again = konfig.ConfigDict(json.loads(text))
    assert not konfig.diff(cfg, again)
    assert konfig.resolve(again).model == konfig.resolve(cfg).model


def test_resolved_nodes_keep_the_written_order_where_nothing_decides(cfg):
    graph = konfig.resolve(cfg).model
    assert list(graph.nodes) == ["encoder", "both", "embedding", "head"]
    order = [step.name for step in graph.plan.steps]
    assert order == ["encoder", "embedding", "both", "head"]


def test_mistake_is_told_with_the_place_in_the_config(cfg):
    cfg.model.nodes.head.inputs = "encodr"
    with pytest.raises(konfig.ConfigError) as e:
        konfig.resolve(cfg)
    assert isinstance(e.value.__cause__, kd.nn.GraphError)
    assert "In `cfg.model`" in str(e.value)
    assert "nodes.head.inputs = 'encodr'" in str(e.value)
    assert "Did you mean 'encoder'" in str(e.value)


def test_misspelt_field_of_a_node_is_told_before_anything_is_built(cfg):
    cfg.model.nodes.head["frozn"] = True
    problems = konfig.to_lines(konfig.check(cfg))
    assert any("frozn" in line and "'frozen'" in line for line in problems)
