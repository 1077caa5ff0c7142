"""Tables, trees and pictures of a run: against NumPy and hand-worked numbers."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from kauldron import kd


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(5, name="inner")(x))


class _Model(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = _Block(name="block")(x)
        x = nn.remat(_Block)(name="again")(x)
        return {"y": nn.Dense(2, use_bias=False, name="head")(x)}


_X = np.arange(24, dtype=np.float32).reshape(8, 3) / 24


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    examples = [{"x": row, "y": row[:2] * i} for i, row in enumerate(_X)]

    def make_ds(**kwargs):
        return kd.data.py.DataSource(examples, batch_size=4, shuffle=False, **kwargs)

    return kd.train.Trainer(
        workdir=tmp_path_factory.mktemp("run"),
        train_ds=make_ds(),
        eval_ds=make_ds(num_epochs=1),
        model=_Model(),
        num_train_steps=8,
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        train_losses={"l2": kd.losses.L2(preds="preds.y", targets="batch.y")},
        train_metrics={"norm": kd.metrics.GlobalNorm(tree="params")},
        optimizer=optax.sgd(0.5),
        schedules={"rate": lambda step: 0.1 * step},
    )


@pytest.fixture(scope="module")
def state(trainer):
    return trainer.init_state()


def test_parameters_are_counted_by_array_and_by_module(trainer):
    table = kd.inspect.parameter_table(trainer)
    assert {row["name"]: row["numbers"] for row in table.as_dicts()} == {
        "again.inner.bias": 5,
        "again.inner.kernel": 25,
        "block.inner.bias": 5,
        "block.inner.kernel": 15,
        "head.kernel": 10,
    }
    assert table.notes == ("60 numbers in 5 arrays, 240 B",)
    by_module = kd.inspect.parameter_table(trainer, depth=1).as_dicts()
    assert [(row["name"], row["numbers"], row["bytes"]) for row in by_module] == [
        ("again", 30, 120),
        ("block", 20, 80),
        ("head", 10, 40),
    ]


def test_statistics_of_parameters_are_those_of_numpy(state):
    [*_, row] = kd.inspect.parameter_table(state, depth=1, statistics=True).as_dicts()
    kernel = np.asarray(state.params["head"]["kernel"], np.float64)
    expected = (kernel.mean(), kernel.std(), kernel.min(), kernel.max())
    got = [row[name] for name in ("mean", "std", "min", "max")]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"depth": 0}, "from 1 on"), ({"statistics": True}, "need arrays")],
)
def test_tables_of_parameters_that_cannot_be_made(trainer, arguments, message):
    with pytest.raises(kd.inspect.ParameterTableError, match=message):
        kd.inspect.parameter_table(trainer, **arguments)


def test_operations_are_those_counted_by_hand(trainer):
    table = kd.inspect.flops_table(trainer)
    counts = {row["module"]: row["operations"] for row in table.as_dicts()}
    # Of 4 rows: products 2 * 4 * n * m, a bias for each output, a tanh for each.
    assert counts == {
        "": 2 * 4 * (3 * 5 + 5 * 5 + 5 * 2) + 4 * 5 * 2 * 2,
        "block": 2 * 4 * 3 * 5 + 4 * 5 * 2,
        "block.inner": 2 * 4 * 3 * 5 + 4 * 5,
        "again": 2 * 4 * 5 * 5 + 4 * 5 * 2,
        "again.inner": 2 * 4 * 5 * 5 + 4 * 5,
        "head": 2 * 4 * 5 * 2,
    }


class _Looping(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            _Carrying,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=6,
        )
        image = nn.Conv(8, (3, 3), feature_group_count=2, name="conv")(
            jnp.zeros((1, 4, 4, 4))
        )
        return {"y": layers(name="layers")(x, None)[0], "image": image}


class _Carrying(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(3, use_bias=False, name="dense")(x), None


def test_loops_count_as_often_as_they_run_and_groups_of_channels_once(trainer):
    changed = trainer.replace(model=_Looping(), train_losses={})
    rows = kd.inspect.flops_table(changed, depth=1).as_dicts()
    counts = {row["module"]: row["operations"] for row in rows}
    assert counts["layers"] == 6 * 2 * 4 * 3 * 3
    assert counts["conv"] == 2 * (4 * 4 * 8) * (3 * 3 * 2) + 4 * 4 * 8


def test_published_overview_has_its_columns(trainer):
    table = kd.inspect.get_colab_model_overview(
        model=trainer.model, train_ds=trainer.train_ds, rngs=trainer.rng_streams
    )
    head = table.as_dicts()[-1]
    assert head == {
        "Path": "head",
        "Module": "Dense",
        "Inputs": "f32[4 5]",
        "Outputs": "f32[4 2]",
        "Parameter Shapes": "kernel: 5 x 2",
        "Own Params": 10,
        "Total Params": 10,
    }


def test_a_key_is_explained_with_its_readers(trainer):
    found = kd.inspect.explain_key(trainer, "preds.y")
    assert dict(found.specs) == {"preds.y": "f32[4 2]"}
    assert [(r.field, r.reads) for r in found.readers] == [
        ("cfg.train_losses['l2'].preds", "preds.y")
    ]
    assert "_Model" in found.origin
    assert json.loads(json.dumps(found.as_dict()))["key"] == "preds.y"


def test_who_reads_a_tree_reads_what_is_in_it(trainer):
    found = kd.inspect.explain_key(trainer, "params.head.kernel")
    assert "'kernel' of the module 'head'" in found.origin
    [reader] = found.readers
    assert (reader.field, reader.reads) == (
        "cfg.train_metrics['norm'].tree",
        "params",
    )
    assert "as 'params'" in str(found)


def test_an_unknown_key_names_the_nearest(trainer):
    with pytest.raises(kd.inspect.UnknownKeyError, match=r"'preds\.y'"):
        kd.inspect.explain_key(trainer, "pred.y")


def test_statistics_of_a_batch_leave_out_what_is_not_finite():
    values = np.array([[1.0, np.nan], [3.0, np.inf]], np.float32)
    table = kd.inspect.get_batch_stats({"x": values, "name": np.array(["a", "b"])})
    rows = {row["Name"]: row for row in table.as_dicts()}
    x = rows["batch.x"]
    assert (x["Min"], x["Max"], x["Mean"], x["StdDev"]) == (1.0, 3.0, 2.0, 1.0)
    assert rows["batch.name"]["Mean"] is None
    assert table.notes == ("batch.x has 2 values that are not finite.",)


def test_batches_are_shown_by_what_they_are():
    batch = {
        "image": np.zeros((3, 8, 8, 3), np.uint8),
        "clip": np.zeros((3, 5, 8, 8, 1), np.float32),
        "labels": np.arange(48).reshape(3, 4, 4, 1),
        "text": np.array(["<b>one</b>", "two", "three"]),
        "features": np.zeros((3, 7)),
        "odd": np.zeros((3, 4, 4, 9)),
    }
    shown = kd.inspect.plot_batch(batch, num=2)
    assert {name: len(items) for name, items in shown.rows.items()} == {
        "batch.image": 2,
        "batch.clip": 2,
        "batch.labels": 2,
        "batch.text": 2,
    }
    assert shown.notes == ("batch.odd is not shown: its shape is [3, 4, 4, 9].",)
    page = shown._repr_html_()
    assert "image/png" in page and "image/gif" in page
    assert "<b>one</b>" not in page and "&lt;b&gt;one" in page
    assert "<b>one</b>" in str(shown)


def test_context_lists_every_key_and_sums_up_what_is_like_parameters(trainer):
    tree = kd.inspect.plot_context(trainer)
    assert tree.tree["batch"] == {"x": "f32[4 3]", "y": "f32[4 2]"}
    assert tree.tree["grads"] == "like params"
    assert "collections" not in tree.tree
    assert "    kernel: f32[5 2]" in str(tree)
    assert kd.inspect.json_spec_like({"a": np.zeros((2, 3)), "b": None}) == {
        "a": "f64[2 3]",
        "b": None,
    }


def test_connections_and_schedules_are_well_formed_pictures(trainer):
    graph = kd.inspect.get_connection_graph(trainer)
    texts = "".join(ElementTree.fromstring(graph.svg).itertext())
    for name in ("cfg.train_ds", "batch.x", "preds.y", "train_losses['l2']"):
        assert name in texts
    rates = kd.inspect.plot_schedules(trainer.logged_schedules, 8)
    texts = "".join(ElementTree.fromstring(rates.svg).itertext())
    assert "rate: 0.7" in texts  # of step 7, the last one
    with pytest.raises(kd.inspect.ScheduleError, match="num_steps=0"):
        kd.inspect.plot_schedules({}, 0)
    with pytest.raises(kd.inspect.ScheduleError, match="'both'"):
        kd.inspect.plot_schedules({"both": lambda step: np.zeros(2)}, 3)


def test_curves_of_nothing_of_a_constant_and_with_gaps_can_be_drawn():
    picture = kd.inspect.plot_lines(
        {
            "none": ([], []),
            "constant": ([0, 1], [2.0, 2.0]),
            "gap": ([0, 1, 2], [1.0, np.nan, 3.0]),
        }
    )
    ElementTree.fromstring(picture.svg)
    assert "nan" not in picture.svg


def test_a_step_is_taken_apart_and_leaves_the_state_usable(trainer, state):
    look = kd.inspect.look_at_step(trainer, state, depth=2)
    norms = {row["module"]: row for row in look.norms.as_dicts()}
    grads = np.asarray(look.context.grads["head"]["kernel"], np.float64)
    params = np.asarray(state.params["head"]["kernel"], np.float64)
    row = norms["head.kernel"]
    np.testing.assert_allclose(row["grads"], np.linalg.norm(grads), rtol=1e-5)
    np.testing.assert_allclose(row["params"], np.linalg.norm(params), rtol=1e-5)
    # Of gradient descent with a rate of a half.
    np.testing.assert_allclose(row["updates"], row["grads"] / 2, rtol=1e-5)
    whole = np.sqrt(
        sum(np.sum(np.square(x)) for x in jax.tree.leaves(look.context.grads))
    )
    np.testing.assert_allclose(norms["all"]["grads"], whole, rtol=1e-5)
    assert int(look.state.step) == 1 and int(state.step) == 0
    names = {row["Name"] for row in look.intermediates.as_dicts()}
    assert "interms.block.inner.__call__[0]" in names
    assert {row["name"] for row in look.values.as_dicts()} >= {"losses/l2"}


@pytest.mark.slow
def test_debugging_runs_a_step_line_by_line(trainer, state):
    seen = []

    class Watching(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            seen.append(float(x.sum()) if not isinstance(x, jax.core.Tracer) else None)
            return {"y": nn.Dense(2)(x)}

    watched = trainer.replace(model=Watching())
    next_state, context = watched.debug()
    assert int(next_state.step) == 1
    assert context.grads is not None
    # Initialization is traced; the step itself has numbers.
    assert seen[-1] == pytest.approx(_X[:4].sum())


def test_largest_losses_are_those_of_each_example_alone(trainer, state):
    worst = kd.inspect.largest_losses(trainer, state, num=3)
    preds = trainer.model.apply({"params": state.params}, jnp.asarray(_X))["y"]
    targets = _X[:, :2] * np.arange(8)[:, None]
    losses = np.square(np.asarray(preds) - targets).mean(-1)
    order = np.argsort(-losses)[:3]
    assert [e.index for e in worst] == order.tolist()
    np.testing.assert_allclose([e.loss for e in worst], losses[order], rtol=1e-5)
    np.testing.assert_array_equal(worst.examples[0].batch["x"], _X[order[0]])
    assert worst.num_seen == 8
    assert worst.table().as_dicts()[0]["index"] == order[0]


def test_losses_that_cannot_be_told_are_refused(trainer, state):
    with pytest.raises(kd.inspect.ExampleLossError, match="l2"):
        kd.inspect.largest_losses(trainer, state, loss="l3")
    with pytest.raises(kd.inspect.ExampleLossError, match="num"):
        kd.inspect.largest_losses(trainer, state, num=0)


def test_a_run_at_a_glance_has_all_sections_in_both_forms(trainer):
    info = kd.inspect.show_trainer_info(trainer, profile_statix=True)
    assert list(info.parts) == [
        "A batch",
        "Examples",
        "Keys",
        "What reads them",
        "Parameters",
        "Modules",
        "Operations",
        "Schedules",
        "Devices",
    ]
    for title in info.parts:
        assert title in str(info)
    page = info._repr_html_()
    assert page.count("<details") == page.count("</details>")


def test_tables_are_aligned_escaped_and_convertible():
    table = kd.inspect.Table(
        columns=("name", "n"), rows=(("<a>", 1234), ("b", None)), notes=("done",)
    )
    assert str(table) == "name      n\n<a>   1,234\nb         -\ndone"
    assert "&lt;a&gt;" in table._repr_html_()
    assert table.as_dicts()[1] == {"name": "b", "n": None}
