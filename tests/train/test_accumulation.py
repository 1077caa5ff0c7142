"""Gradient accumulation: same gradient, less memory, everything measured as before."""

from __future__ import annotations

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.step import accumulation
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

BATCH_SIZE = 64
WIDTH = 32
COMPILE_FAST = {"xla_backend_optimization_level": 0}


class Mlp(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.Dense(WIDTH)(x))
        return {"logits": nn.Dense(10)(x), "features": x, "temperature": x.mean()}


class Repeated(kd.data.Pipeline):
    """The same batch again and again."""

    is_endless = True

    @property
    def element_spec(self):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            make_batch(self.batch_size),
        )

    def __iter__(self):
        return _Iterator(make_batch(self.batch_size))


class _Iterator:
    def __init__(self, batch):
        self._batch = batch

    def __next__(self):
        return self._batch

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def close(self):
        pass


def make_batch(size=BATCH_SIZE):
    rng = np.random.default_rng(0)
    is_kept = rng.random((size, 1)) < 0.3
    return {
        "x": rng.normal(size=(size, WIDTH)).astype(np.float32),
        "label": rng.integers(10, size=(size, 1)).astype(np.int32),
        "weights": (is_kept * rng.random((size, 1))).astype(np.float32),
        # Of four micro-batches, three have nothing of it.
        "few": (np.arange(size)[:, None] % 4 == 1).astype(np.float32),
    }


LOSSES = {
    "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits",
        labels="batch.label",
        mask="batch.weights",
        weight=0.7,
    ),
    "few": kd.losses.L2(
        preds="preds.features",
        targets="batch.x",
        mask="batch.few",
        weight=optax.linear_schedule(0.1, 1.0, 10),
    ),
    "size": kd.losses.AbsoluteValue(
        values="preds.logits",
        mask="batch.weights",
        normalize_by="values",
        weight=0.1,
    ),
}
METRICS = {
    "accuracy": kd.metrics.Accuracy(
        logits="preds.logits", labels="batch.label", mask="batch.weights"
    ),
    "grad_norm": kd.metrics.GlobalNorm(),
}


def make_trainer(workdir="unused", *, batch_size=BATCH_SIZE, **changes):
    kwargs = {
        "train_ds": Repeated(batch_size=batch_size),
        "eval_ds": None,
        "model": Mlp(),
        "train_losses": LOSSES,
        "train_metrics": METRICS,
        "optimizer": optax.sgd(0.1),
        **changes,
    }
    return small_run.make_trainer(workdir, **kwargs)


def run_step(trainer, state=None):
    """Returns the context at the end of a step."""
    state = trainer.init_state() if state is None else state
    batch = next(iter(trainer.train_ds))
    batch = jax.device_put(batch, trainer.sharding.batch)

    @functools.partial(jax.jit, compiler_options=COMPILE_FAST)
    def step(state, batch):
        return trainer.trainstep._step(state, batch)[1]

    return step(state, batch)


@functools.cache
def initial_state():
    return make_trainer().init_state()


@functools.cache
def context_with(num_microbatches):
    return run_step(make_trainer(grad_accum_steps=num_microbatches), initial_state())


def assert_same_gradient(grads, expected):
    difference = jax.tree.map(lambda a, b: a - b, grads, expected)
    assert optax.tree.norm(difference) <= 1e-6 * optax.tree.norm(expected)


def by_hand(params):
    """The loss with sums over the whole batch, in plain JAX."""
    batch = make_batch()
    preds = Mlp().apply({"params": params}, batch["x"])
    nats = optax.softmax_cross_entropy_with_integer_labels(
        preds["logits"], batch["label"][:, 0]
    )
    weights = batch["weights"][:, 0]
    squares = ((preds["features"] - batch["x"]) ** 2 * batch["few"]).sum()
    sizes = (jnp.abs(preds["logits"]) * batch["weights"]).sum()
    return (
        0.7 * (nats * weights).sum() / weights.sum()
        + 0.1 * squares / (batch["few"].sum() * WIDTH)
        + 0.1 * sizes / preds["logits"].size
    )


def assert_accumulated_gradient_is_right(num_microbatches):
    context, whole = context_with(num_microbatches), context_with(1)
    total, grads = jax.jit(jax.value_and_grad(by_hand))(initial_state().params)
    assert_same_gradient(context.grads, grads)
    assert_same_gradient(context.grads, whole.grads)
    np.testing.assert_allclose(context.loss_total, total, rtol=1e-6)


def test_accumulated_gradient_equals_that_of_the_whole_batch():
    assert_accumulated_gradient_is_right(4)


@pytest.mark.slow
@pytest.mark.parametrize("num_microbatches", [2, 8])
def test_gradient_does_not_depend_on_the_number_of_micro_batches(num_microbatches):
    assert_accumulated_gradient_is_right(num_microbatches)


def test_one_device_gives_the_gradient_of_eight():
    replicated = kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)
    trainer = make_trainer(sharding=replicated, grad_accum_steps=4)
    context, whole = run_step(trainer, initial_state()), context_with(1)
    assert_same_gradient(context.grads, whole.grads)
    np.testing.assert_allclose(context.loss_total, whole.loss_total, rtol=1e-6)


def test_measurements_are_of_the_whole_batch_in_its_order():
    context, whole = context_with(4), context_with(1)
    # The same arithmetic for each example, in smaller matrices.
    for name in ("logits", "features", "temperature"):
        np.testing.assert_allclose(
            context.preds[name], whole.preds[name], rtol=1e-5, atol=1e-6
        )
    jax.tree.map(np.testing.assert_array_equal, context.batch, whole.batch)
    for group in ("loss_states", "metric_states"):
        got, expected = getattr(context, group), getattr(whole, group)
        assert jax.tree.structure(got) == jax.tree.structure(expected)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), got, expected
        )


def test_the_model_runs_once_and_nothing_is_sent_to_split_the_batch():
    trainer = make_trainer(grad_accum_steps=4)
    program = _compile(trainer).as_text()
    # Three layers: forward, by inputs (not of the first), by parameters.
    assert len(re.findall(r" dot\(", program)) == 3 + 2 + 3
    for collective in ("all-to-all", "collective-permute"):
        assert f"{collective}(" not in program
    # Counts of labels, one of each device.
    gathered = re.findall(r"= (\S+) all-gather\(", program)
    assert gathered
    assert all(re.match(rf"s32\[{jax.device_count()}(,1)?\]", x) for x in gathered)


def test_memory_is_that_of_a_micro_batch():
    sizes = [
        _compile(make_trainer(batch_size=8192, grad_accum_steps=k, train_metrics={}))
        .memory_analysis()
        .temp_size_in_bytes
        for k in (1, 8)
    ]
    assert sizes[1] < sizes[0] / 4


def _compile(trainer):
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=trainer.sharding.batch
        ),
        trainer.train_ds.element_spec,
    )
    return trainer.trainstep._jitted_step.lower(
        trainer.state_specs,
        batch,
        return_losses=True,
        return_metrics=True,
        return_summaries=False,
        checkify_error_categories=frozenset(),
    ).compile()


class WithBatchNorm(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False, momentum=0.5)(x)
        return {"logits": nn.Dense(10)(x), "features": x}


def test_batch_statistics_go_from_one_micro_batch_to_the_next():
    context = run_step(make_trainer(model=WithBatchNorm(), grad_accum_steps=2))
    x = make_batch()["x"]
    expected = 0.5 * (0.5 * x[0::2].mean(0)) + 0.5 * x[1::2].mean(0)
    mean = context.collections["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, expected, atol=1e-6)


class Noise(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        bits = jax.random.bits(self.make_rng("dropout"), x.shape[:1])
        return {"bits": bits, "logits": nn.Dense(10)(x)}


def test_each_micro_batch_has_its_own_random_numbers_every_time_the_same():
    losses = {"size": kd.losses.AbsoluteValue(values="preds.logits")}
    trainer = make_trainer(
        model=Noise(), train_losses=losses, train_metrics={}, grad_accum_steps=4
    )
    bits = [np.asarray(run_step(trainer).preds["bits"]) for _ in range(2)]
    assert len(set(bits[0].tolist())) == BATCH_SIZE
    np.testing.assert_array_equal(*bits)


def test_run_with_accumulation_learns_the_same_and_compiles_once(tmp_path):
    runs = {}
    for k in (1, 4):
        trainer = make_trainer(
            tmp_path / str(k),
            grad_accum_steps=k,
            num_train_steps=6,
            seed=1,
            log_metrics_every=1,
        )
        state, _ = trainer.train()
        runs[k] = state.params
        assert trainer.trainstep._jitted_step._cache_size() == 1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        runs[1],
        runs[4],
    )


@pytest.mark.parametrize(
    ("num_microbatches", "message"),
    [
        (3, r"must divide the batch: got 3 steps, and 64 examples in `batch\.few`"),
        (16, r"each micro-batch must divide over the devices: .* 16 x the number"),
    ],
)
def test_batch_that_does_not_divide_is_refused_before_compiling(
    num_microbatches, message
):
    trainer = make_trainer(grad_accum_steps=num_microbatches)
    with pytest.raises(kd.errors.UserError, match=message):
        trainer.check()
    assert trainer.trainstep._jitted_step._cache_size() == 0


def test_number_of_micro_batches_must_be_positive():
    with pytest.raises(
        ValueError, match="`grad_accum_steps` must be at least 1: got 0"
    ):
        make_trainer(grad_accum_steps=0)


def test_models_that_mix_examples_are_warned_about(capfd):
    losses = {
        "pairs": kd.losses.InfoNCE(queries="preds.features", positives="batch.x"),
        "size": kd.losses.AbsoluteValue(values="preds.logits"),
    }
    changes = {"train_losses": losses, "model": WithBatchNorm(), "train_metrics": {}}
    make_trainer(**changes).check()
    assert "Warning" not in capfd.readouterr().err
    make_trainer(**changes, grad_accum_steps=2).check()
    (line,) = capfd.readouterr().err.splitlines()
    assert "batch norm" in line
    assert "InfoNCE" in line
    assert "AbsoluteValue" not in line


class Pairs(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x)
        return {"logits": x, "similarities": x @ x.T}


def test_predictions_of_pairs_of_examples_are_refused():
    trainer = make_trainer(
        model=Pairs(),
        train_losses={"size": kd.losses.AbsoluteValue(values="preds.logits")},
        train_metrics={},
        grad_accum_steps=2,
    )
    with pytest.raises(
        ValueError, match=r"`preds\.similarities` compares the examples"
    ):
        trainer.check()


class Growing(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        if not self.is_initializing():
            self.variable("seen", "x", lambda: x)
        return {"logits": nn.Dense(10)(x)}


def test_collections_that_change_their_structure_are_refused():
    trainer = make_trainer(
        model=Growing(),
        train_losses={"size": kd.losses.AbsoluteValue(values="preds.logits")},
        train_metrics={},
        grad_accum_steps=2,
    )
    with pytest.raises(ValueError, match=r"\['seen\.x'\] of `collections` changed"):
        trainer.check()


def test_option_that_an_own_step_leaves_out_is_refused():
    class Alone(kd.train.TrainStep):
        def _step(self, state, batch):
            context = kd.train.Context.from_state_and_batch(state=state, batch=batch)
            context = kd.train.forward(
                context, model=self.model, rngs={}, is_training=True
            )
            return dataclasses.replace(state, step=state.step + 1), (
                self.aux.update_context(context)
            )

    make_trainer(trainstep=Alone(), train_metrics={}).check()
    trainer = make_trainer(trainstep=Alone(), train_metrics={}, grad_accum_steps=2)
    with pytest.raises(
        ValueError, match=r"`cfg\.grad_accum_steps` has no effect: Alone\._step"
    ):
        trainer.check()


class Slope(nn.Module):
    """One parameter; the gradient of a mean over examples is the mean of the inputs."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.ones, (), jnp.bfloat16)
        return {"y": x * slope.astype(jnp.float32)}


class MeanOf(kd.losses.Loss):
    preds: kd.kontext.Key = "preds.y"

    def get_values(self, preds):
        return preds


def test_gradients_of_bf16_parameters_are_summed_up_in_f32():
    x = np.full((64, 1), 1.0, np.float32)
    x[0] = 1000.0  # the first micro-batch: in bf16 the other 63 would be lost
    trainer = small_run.make_trainer(
        "unused",
        train_ds=kd.data.py.DataSource(
            [{"x": row} for row in x], shuffle=False, batch_size=64
        ),
        model=Slope(),
        train_losses={"mean": MeanOf()},
        train_metrics={},
        evals={},
        optimizer=optax.sgd(1.0),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        grad_accum_steps=64,
    )
    step = jax.jit(lambda s, b: trainer.trainstep._step(s, b)[1].grads)
    grads = step(trainer.init_state(), next(iter(trainer.train_ds)))
    # 1063 / 64 = 16.61, rounded once.
    assert float(grads["slope"]) == float(jnp.asarray(x.mean(), jnp.bfloat16))


def test_what_has_no_examples_is_averaged_in_f32_or_that_of_the_last_micro_batch():
    # A sum in bf16, of 8 bits, would stay at 1.
    parts = {
        "mean": jnp.array([1.0, *[1 / 256] * 4], jnp.bfloat16),
        "count": jnp.arange(5),
        "flag": jnp.array([True, True, True, True, False]),
    }
    specs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((), x.dtype), parts)
    whole = accumulation.join(parts, specs, prefix="preds")
    assert whole["mean"].dtype == jnp.bfloat16
    assert whole["mean"] == (1 + 4 / 256) / 5
    assert whole["count"] == 4
    assert not whole["flag"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_examples_of_micro_batches_are_put_together_along_whatever_axis(axis):
    whole = np.arange(6 * 2 * 3).reshape(6, 2, 3)  # the first axis has the examples
    parts = np.stack([np.moveaxis(whole[i::3], 0, axis) for i in range(3)])
    expected = np.moveaxis(whole, 0, axis)
    specs = jax.ShapeDtypeStruct(expected.shape, expected.dtype)
    joined = accumulation.join(jnp.asarray(parts), specs, prefix="preds")
    np.testing.assert_array_equal(joined, expected)
