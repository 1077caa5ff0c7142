"""What is wrong with a graph is told before it runs, with the place and the nearest name."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from kauldron import errors, kd, kontext

Node = kd.nn.Node


def two(inputs, **kwargs):
    """A graph that is right but for what is given."""
    return {
        "nodes": {
            "encoder": Node(nn.Dense(2), "batch.image"),
            "head": Node(nn.Dense(2), inputs, **kwargs),
        },
        "outputs": {"logits": "head"},
    }


dense = nn.Dense(2)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            two("encodr"),
            r"nodes\.head\.inputs = 'encodr': no node writes 'encodr', and the context "
            r"has no such part\. Did you mean 'encoder'\? Nodes: encoder, head",
        ),
        (
            two({"x": ["encoder", "bach.x"]}),
            r"head\.inputs\.x\[1\] = 'bach\.x'.*'batch'",
        ),
        (two(kontext.REQUIRED), r"nodes\.head\.inputs: it must be set"),
        (two(3), r"nodes\.head\.inputs = 3: a key is a text"),
        (two("encoder..x"), r"nodes\.head\.inputs = 'encoder\.\.x': Could not parse"),
        (two("encoder.*"), r"head\.inputs = 'encoder\.\*': wildcards name many values"),
        (two(["encoder", "head"]), r"a cycle.*: head → head\."),
        (two("encoder", when="predict"), r"when = 'predict': it is one of \['always'"),
        (two("batch.image"), r"nodes\.encoder: nothing reads its output\. Add it to"),
        (
            {
                "nodes": {
                    "a": Node(jnp.add, ["batch.x", "c"]),
                    "b": Node(jnp.abs, "a"),
                    "c": Node(jnp.abs, "b.y"),
                    "d": Node(jnp.abs, "c"),
                },
                "outputs": "d",
            },
            r"nodes\.a\.inputs: a cycle, each needs .*: a → c → b → a\.",
        ),
        (
            {**two("encoder"), "outputs": {"logits": "heads"}},
            r"outputs\.logits = 'heads': no node.*Did you mean 'head'\?",
        ),
        ({**two("encoder"), "outputs": kontext.REQUIRED}, "outputs: it must be set"),
        ({"nodes": {}, "outputs": "a"}, "nodes: it has none"),
        (
            {**two("encoder"), "shared": {"critic": nn.Dense(1)}},
            r"shared\.critic: no node uses it",
        ),
        (
            {
                "nodes": {"real": Node("critc", "batch.x")},
                "shared": {"critic": nn.Dense(1)},
                "outputs": "real",
            },
            r"nodes\.real\.module = 'critc': `shared` has no such module\. Did you mean "
            r"'critic'\?",
        ),
        (
            {
                "nodes": {"critic": Node("critic", "batch.x")},
                "shared": {"critic": nn.Dense(1)},
                "outputs": "critic",
            },
            r"shared\.critic: a node has this name, too",
        ),
        (
            {
                "nodes": {"a": Node(dense, "batch.x"), "b": Node(dense, "a")},
                "outputs": "b",
            },
            r"nodes\.b\.module: it is the very object that is `nodes\.a\.module`",
        ),
        (
            {"nodes": {"a": Node(nn.Dense, "batch.x")}, "outputs": "a"},
            r"nodes\.a\.module: it must be .*Dense.*\. Call it, with its arguments",
        ),
        (
            {"nodes": {"a": Node(jnp.abs, "batch.x", frozen=True)}, "outputs": "a"},
            r"nodes\.a\.frozen: a function has no parameters",
        ),
        (
            {"nodes": {"a": nn.Dense(2)}, "outputs": "a"},
            r"nodes\.a: it must be a `kd\.",
        ),
        (
            {"nodes": {"batch": Node(nn.Dense(2), "batch.x")}, "outputs": "batch"},
            r"nodes\['batch'\]: `batch` is a part of the context",
        ),
        (
            {"nodes": {"a b": Node(nn.Dense(2), "batch.x")}, "outputs": "a"},
            r"nodes\['a b'\]: a name is one word",
        ),
        (
            {"nodes": {"apply": Node(nn.Dense(2), "batch.x")}, "outputs": "apply"},
            r"nodes\['apply'\]: Flax modules have an attribute",
        ),
        (
            {"nodes": {"a": Node(jnp.abs, "step")}, "shared": {"m": jnp.abs}},
            r"shared\.m: it must be a Flax module",
        ),
        (
            {
                "nodes": {
                    "a": Node(jnp.abs, "step", when="train"),
                    "b": Node(jnp.abs, "a"),
                },
                "outputs": "b",
            },
            r"nodes\.b\.inputs: it reads 'a', which exists only in train passes",
        ),
        (
            {"nodes": {"a": Node(jnp.abs, "step", when="eval")}, "outputs": "a"},
            r"outputs = 'a': it exists only in eval passes.*\{'a': 'a'\}",
        ),
    ],
)
def test_mistake_is_told_with_its_place(graph, message):
    with pytest.raises(kd.nn.GraphError, match=message) as e:
        kd.nn.Graph(**graph)
    assert isinstance(e.value, errors.UserError)


def test_all_mistakes_are_told_at_once():
    nodes = {"a": Node(jnp.abs, "x.y"), "b": Node(nn.Dense, "z")}
    with pytest.raises(kd.nn.GraphError) as e:
        kd.nn.Graph(nodes=nodes, outputs="c")
    assert str(e.value).count("\n- ") == 4


def test_copies_are_checked_if_something_is_changed():
    graph = kd.nn.Graph(**two("encoder"))
    assert graph.copy(outputs="head").outputs == "head"
    with pytest.raises(kd.nn.GraphError, match=r"Did you mean 'head'\?"):
        graph.copy(outputs="haed")
    with pytest.raises(kd.nn.GraphError, match=r"nodes\.b: nothing reads its output"):
        graph.copy(nodes={**graph.nodes, "b": Node(jnp.abs, "head")})


def test_misspelt_argument_of_a_node_is_told():
    with pytest.raises(TypeError, match=r"no argument 'input'\. Did you mean 'inputs'"):
        Node(jnp.abs, input="batch.x")


def apply(inputs, **context):
    graph = kd.nn.Graph(**two(inputs))
    return jax.eval_shape(lambda: graph.init(jax.random.key(0), **context))


IMAGE = jnp.ones((2, 3))


def test_part_that_an_output_lacks_is_told_where_it_is_asked_for():
    with pytest.raises(kontext.KeyPathError) as e:
        apply("encoder.features", batch={"image": IMAGE})
    assert "nodes.head.inputs = 'encoder.features'" in str(e.value)
    assert "Did you mean 'encoder'" in str(e.value)


def test_value_that_the_context_lacks_is_told_where_it_is_asked_for():
    with pytest.raises(kontext.KeyPathError) as e:
        apply("encoder", batch={"img": IMAGE})
    assert "nodes.encoder.inputs = 'batch.image'" in str(e.value)
    assert "Did you mean 'batch.img'" in str(e.value)


def test_arguments_that_a_module_does_not_take_are_told_with_its_node():
    message = r"nodes\.head\.inputs: Dense\(inputs: .*too many positional arguments"
    with pytest.raises(kd.nn.GraphError, match=message):
        apply(["encoder", "batch.image"], batch={"image": IMAGE})


def test_type_error_inside_of_a_module_stays_as_it_is():
    def fails(x):
        raise TypeError("my own")

    graph = kd.nn.Graph(nodes={"a": Node(fails, "step")}, outputs="a")
    with pytest.raises(TypeError, match="my own"):
        graph.apply({}, step=1)


def test_keys_of_the_context_are_named_by_where_they_are_written():
    graph = kd.nn.Graph(
        nodes={
            "a": Node(jnp.add, ["batch.x", "step"]),
            "b": Node(jnp.add, {"x": "batch.x", "y": "a"}),
        },
        outputs={"b": "b", "seen": "batch.y"},
    )
    assert kontext.get_keypaths(graph) == {
        "nodes.a.inputs[0]": "batch.x",
        "nodes.a.inputs[1]": "step",
        "outputs.seen": "batch.y",
    }


def test_graphs_of_equal_nodes_are_equal_and_hash_alike():
    def make(inputs):
        nodes = {"a": Node(nn.Dense(2), inputs)}
        return kd.nn.Graph(nodes=nodes, outputs={"a": "a"})

    assert make(["batch.x"]) == make(("batch.x",))
    assert hash(make(["batch.x"])) == hash(make(["batch.x"]))
    assert make("batch.x") != make("batch.y")
