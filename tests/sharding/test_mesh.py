"""Meshes with named axes: what is split over what, on eight devices, and the same numbers."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from kauldron import kd, konfig
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


def _dense(features, names, name):
    lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
    return nn.Dense(
        features,
        kernel_init=kd.nn.with_logical_axes(lecun, names),
        bias_init=kd.nn.with_logical_axes(zeros, names[1:]),
        name=name,
    )


class Mlp(nn.Module):
    """Names its axes as our blocks do."""

    x: kd.kontext.Key = "batch.x"
    width: int = 16

    @nn.compact
    def __call__(self, x):
        x = nn.relu(_dense(self.width, ("embed", "mlp"), "up")(x))
        x = nn.relu(_dense(24, ("mlp", "embed"), "down")(x))
        return {"logits": _dense(2, ("embed", "vocab"), "head")(x)}


def train(tmp_path, **changes):
    trainer = small_run.make_trainer(
        tmp_path,
        **{"model": Mlp(), "num_train_steps": 6, "log_metrics_every": 1, **changes},
    )
    state, aux = trainer.train()
    return trainer, state, aux


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    _, state, aux = train(tmp_path_factory.mktemp("plain"))
    return jax.device_get(state.params), aux.compute()


MESHES = {
    "data": {"axes": {"data": -1}},
    "fsdp": {"axes": {"fsdp": -1}},
    "data, fsdp": {"axes": {"data": 2, "fsdp": 4}},
    "tensor": {"axes": {"tensor": 2, "data": -1}, "rules": {"vocab": None}},
}
MIXED_MESHES = {
    "all": {"axes": {"data": 2, "fsdp": 2, "tensor": 2}},
    "by path": {
        "axes": {"data": 4, "tensor": 2},
        "rules": {"mlp": None, "vocab": None},
        "paths": {"down.kernel": ("tensor",), "**.bias": (None,)},
    },
}


@pytest.mark.parametrize(
    "kwargs",
    [
        *(pytest.param(m, marks=pytest.mark.slow, id=n) for n, m in MESHES.items()),
        *(pytest.param(m, id=name) for name, m in MIXED_MESHES.items()),
    ],
)
def test_training_gives_the_same_numbers(plain, tmp_path, kwargs):
    trainer, state, aux = train(tmp_path, sharding=kd.sharding.Mesh(**kwargs))
    params, expected = plain
    jax.tree.map(
        # Sums of eight parts round in another order.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.device_get(state.params),
        params,
    )
    for name, value in expected.loss_values.items():
        np.testing.assert_allclose(aux.compute().loss_values[name], value, rtol=1e-5)
    specs = jax.tree.map(lambda x: x.sharding, trainer.state_specs.params)
    assert jax.tree.map(lambda x: x.sharding, state.params) == specs
    assert trainer.trainstep._jitted_step._cache_size() == 1


def specs_of(**kwargs):
    trainer = small_run.make_trainer(
        None, model=Mlp(), sharding=kd.sharding.Mesh(**kwargs)
    )
    leaves = jax.tree.leaves_with_path(trainer.state_specs)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): x.sharding
        and tuple(x.sharding.spec)
        for path, x in leaves
    }


def test_large_parameters_are_split_along_their_largest_axis_that_divides():
    specs = specs_of(axes={"fsdp": -1})
    assert specs["params.up.kernel"] == (None, "fsdp")  # 3 x 16
    assert specs["params.down.kernel"] == (None, "fsdp")  # 16 x 24
    assert specs["params.head.kernel"] == ("fsdp",)  # 24 x 2
    assert specs["params.head.bias"] == ()  # 2: does not divide


def test_small_parameters_stay_whole_on_request():
    specs = specs_of(axes={"fsdp": -1}, min_size_to_shard_mb=300 / 2**20)
    assert specs["params.up.kernel"] == ()  # 192 bytes
    assert specs["params.down.kernel"] == (None, "fsdp")


def test_parameters_are_split_by_the_names_of_their_axes():
    specs = specs_of(axes={"data": 4, "tensor": 2})
    assert specs["params.up.kernel"] == (None, "tensor")
    assert specs["params.up.bias"] == ("tensor",)
    assert specs["params.down.kernel"] == ("tensor",)
    assert specs["params.down.bias"] == ()


def test_axis_of_one_device_splits_nothing_and_compiles_nothing_again():
    specs = specs_of(axes={"data": 8, "fsdp": 1, "tensor": 1})
    assert specs["params.up.kernel"] == specs["params.down.kernel"] == ()
    assert kd.sharding.Mesh(axes={"data": 8, "fsdp": 1}).batch.spec == P("data")


def test_names_come_before_the_largest_axis():
    specs = specs_of(axes={"data": 2, "fsdp": 2, "tensor": 2})
    assert specs["params.down.kernel"] == ("tensor", "fsdp")
    assert specs["params.up.kernel"] == (None, "tensor")  # 3 does not divide


def test_moments_are_where_their_parameters_are():
    specs = specs_of(axes={"data": 4, "tensor": 2})
    assert specs["opt_state.0.mu.down.kernel"] == ("tensor",)


def test_batch_is_split_over_the_axes_for_it_that_there_are():
    def spec(**kwargs):
        return kd.sharding.Mesh(**kwargs).batch.spec

    assert spec(axes={"data": 2, "fsdp": 4}) == P(("data", "fsdp"))
    assert spec(axes={"data": 2, "tensor": 4}) == P("data")
    assert spec(axes={"tensor": 8}) == P()
    assert spec(axes={"a": 2, "b": 4}, batch_axes=("b",)) == P("b")


def test_published_parts_take_the_place_of_what_the_rules_say():
    mesh = kd.sharding.Mesh(
        axes={"fsdp": -1}, params=kd.sharding.REPLICATED, batch=kd.sharding.FIRST_DIM
    )
    assert mesh.batch == kd.sharding.FIRST_DIM
    assert mesh.params == kd.sharding.REPLICATED


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("data", {"data": 8}),
        ("fsdp", {"fsdp": 8}),
        ("fsdp=4", {"data": 2, "fsdp": 4}),
        ("fsdp=-1,tensor=2", {"fsdp": 4, "tensor": 2}),
        ("fsdp, tensor=2", {"fsdp": 4, "tensor": 2}),
        ("tensor=2,expert=4", {"data": 1, "tensor": 2, "expert": 4}),
    ],
)
def test_text_names_a_mesh(name, axes):
    trainer = small_run.make_trainer(None, sharding=name)
    assert dict(trainer.sharding.mesh.shape) == axes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fdsp", r"names the mesh axis 'fdsp': known are .* Did you mean 'fsdp'"),
        ("fsdp=2,fsdp=4", r"names 'fsdp' twice"),
        ("fsdp=four", r"'four' is no number of devices. Write 'fsdp=2'"),
        ("fsdp=3", "has 3 devices or a multiple, but there are 8"),
        ("", "`sharding=''` names no mesh: write 'data', 'fsdp'"),
    ],
)
def test_text_that_names_no_mesh_is_refused(name, words):
    with pytest.raises(kd.sharding.MeshError, match=words):
        small_run.make_trainer(None, sharding=name)


def test_mesh_is_changed_by_flags():
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.sharding.Mesh(axes={"data": -1})
    cfg.axes = {"data": 2, "fsdp": 4}
    assert konfig.resolve(cfg).batch.spec == P(("data", "fsdp"))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"axes": {"data": 3}}, r"has 3 devices, but there are 8.*each of 1, 2, 4, 8"),
        ({"axes": {"data": 3, "fsdp": -1}}, "has 3 devices or a multiple, but"),
        ({"axes": {"data": 2, "fsdp": 2}}, "has 4 devices, but there are 8"),
        ({"axes": {"data": -1, "fsdp": -1}}, "Only one axis can be -1"),
        ({"axes": {"data": 0}}, r"`axes\['data'\]` must be a number of devices"),
        ({"axes": {"data": 2.0}}, "got 2.0"),
        (
            {"axes": {"data": 4, "tensor": 2}, "rules": {"mlp": "tensr"}},
            r"`rules\['mlp'\]` names the mesh axis 'tensr'.*Did you mean 'tensor'",
        ),
        (
            {"axes": {"data": -1}, "paths": {"**": (None, "dat")}},
            r"`paths\['\*\*'\]` names the mesh axis 'dat'.*Did you mean 'data'",
        ),
    ],
)
def test_mesh_that_cannot_be_is_refused_at_once(kwargs, words):
    with pytest.raises(kd.sharding.MeshError, match=words):
        kd.sharding.Mesh(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {"axes": {"tensor": -1}},
            r"`params.head.bias` has shape \(2,\): axis 'vocab' has 2 entries, which do "
            r"not divide over the 8 devices of 'tensor'. Use a mesh axis of 1 or 2 devices",
        ),
        (
            {"axes": {"data": 4, "tensor": 2}, "rules": {"mpl": "tensor"}},
            r"`rules\['mpl'\]` is for an axis that no parameter and no activation .*Did you mean 'mlp'",
        ),
        (
            {"axes": {"data": 4, "expert": 2}},
            r"'expert' of 2 devices splits no parameter and no .* the axes "
            r"\['embed', 'mlp', 'vocab'\]",
        ),
        (
            {"axes": {"data": -1}, "paths": {"dwon.kernel": ("data",)}},
            r"glob 'dwon.kernel' matches no parameter.*down",
        ),
        (
            {"axes": {"data": -1}, "paths": {"up.bias": (None, "data")}},
            r"splits 2 axes, but `params.up.bias` has 1",
        ),
        (
            {"axes": {"data": -1}, "paths": {"up.kernel": ("data",)}},
            r"axis 0 \(`paths\['up.kernel'\]`\) has 3 entries",
        ),
    ],
)
def test_rule_that_does_not_fit_is_refused_before_compiling(kwargs, words):
    with pytest.raises(kd.sharding.MeshError, match=words):
        specs_of(**kwargs)


def test_evaluation_and_uneven_last_batch_give_the_same_numbers(tmp_path):
    def evaluate(folder, **changes):
        ds = small_run.make_ds(training=False, batch_size=12)
        evals = {"end": kd.evals.Evaluator(run=kd.evals.Final(), ds=ds)}
        trainer, state, _ = train(tmp_path / folder, evals=evals, **changes)
        return trainer.evals["end"].evaluate(state, 6).compute().loss_values

    sharded = evaluate("mesh", sharding=kd.sharding.Mesh(axes={"data": 2, "fsdp": 4}))
    expected = evaluate("plain", sharding=kd.sharding.ShardingStrategy())
    for name, value in expected.items():
        np.testing.assert_allclose(sharded[name], value, rtol=1e-5)


@pytest.mark.slow
def test_outputs_of_an_evaluation_are_those_of_one_axis(tmp_path):
    def predictions(folder, strategy):
        evaluator = kd.evals.Evaluator(
            run=kd.evals.Final(),
            ds=small_run.make_ds(training=False, batch_size=12),
            outputs=kd.evals.WriteOutputs(keys=["preds.logits"]),
        )
        trainer, _, _ = train(
            tmp_path / folder, evals={"end": evaluator}, sharding=strategy
        )
        return kd.evals.read_outputs(trainer.workdir / "outputs" / "end")[
            "preds.logits"
        ]

    mesh = kd.sharding.Mesh(axes={"data": 2, "tensor": 2, "fsdp": 2})
    np.testing.assert_allclose(
        predictions("mesh", mesh),
        predictions("plain", kd.sharding.ShardingStrategy()),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.slow
def test_state_is_restored_onto_another_mesh(tmp_path):
    def trainer(steps, **axes):
        return small_run.make_trainer(
            tmp_path,
            model=Mlp(),
            num_train_steps=steps,
            sharding=kd.sharding.Mesh(axes=axes),
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=3),
            optimizer=optax.adam(1e-2),
        )

    trainer(3, fsdp=8).train()
    state, _ = trainer(6, data=2, fsdp=4).train()
    assert int(state.step) == 6
    assert state.params["down"]["kernel"].sharding.spec == P(None, "fsdp")
    assert jnp.isfinite(state.params["down"]["kernel"]).all()
