"""What must hold on a GPU as it does on a CPU: `JAX_PLATFORMS=cuda,cpu make test-gpu`."""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd
from tests.train import small_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        jax.default_backend() != "gpu",
        reason="needs a GPU, and JAX_PLATFORMS=cuda,cpu",
    ),
]


_XENTROPY = kd.losses.SoftmaxCrossEntropyWithIntLabels(
    logits="preds.logits", labels="batch.label"
)


@pytest.fixture
def exact_products():
    """Products of f32 matrices in f32, not in TF32."""
    with jax.default_matmul_precision("highest"):
        yield


def _on_host(tree):
    return jax.tree.map(np.asarray, tree)


def test_a_gradient_is_that_of_the_cpu(tmp_path, exact_products):
    trainer = small_run.make_trainer(tmp_path)
    state, batch = trainer.init_state(), next(iter(trainer.train_ds))

    def gradient_on(device):
        here, local = jax.device_put((state, batch), device)
        context = kd.train.Context.from_state_and_batch(state=here, batch=local)

        def loss_of(params):
            return kd.train.forward_with_loss(
                dataclasses.replace(context, params=params),
                model=trainer.model,
                losses=trainer.train_losses,
                rngs={
                    k: jax.device_put(jax.random.key(0), device) for k in ("dropout",)
                },
                is_training=True,
            )[0]

        return _on_host(jax.jit(jax.grad(loss_of))(here.params))

    on_gpu = gradient_on(jax.devices("gpu")[0])
    on_cpu = gradient_on(jax.devices("cpu")[0])
    # The same sums of f32 in another order.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        on_gpu,
        on_cpu,
    )


def test_a_run_in_two_parts_is_the_run_in_one(tmp_path):
    def train(workdir, num_steps):
        return small_run.make_trainer(
            tmp_path / workdir,
            num_train_steps=num_steps,
            checkpointer=kd.ckpts.Checkpointer(save_interval_steps=5),
        ).train()[0]

    whole = train("whole", 10)
    train("parts", 5)
    parts = train("parts", 10)
    jax.tree.map(np.testing.assert_array_equal, _on_host(parts), _on_host(whole))


def test_a_second_step_compiles_nothing(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    state, batches = trainer.init_state(), iter(trainer.train_ds)
    place = trainer.sharding.batch
    state, _ = trainer.trainstep.step(state, jax.device_put(next(batches), place))
    with jax.log_compiles(), _no_compilation():
        trainer.trainstep.step(state, jax.device_put(next(batches), place))


class _no_compilation:
    def __enter__(self):
        self._count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event, duration, **kwargs):
        del duration, kwargs
        self._count += event.endswith("backend_compile_duration")

    def __exit__(self, *error):
        assert self._count == 0


class Biased(nn.Module):
    """A bias added at 4096 places: in bf16 its gradient would stop growing at 256."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        return {"y": x + self.param("bias", nn.initializers.zeros, (1,), x.dtype)}


def test_sums_of_gradients_in_bf16_are_those_of_f32(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        model=Biased(),
        train_losses={"sum": kd.losses.Value(values="preds.y")},
        train_metrics={},
        optimizer=optax.sgd(1.0),
        precision="bf16",
        train_ds=small_run.make_ds(
            data_source=[{"x": np.ones(4096, np.float32)}] * 16, batch_size=8
        ),
        evals={},
    )
    state = trainer.init_state()
    before = _on_host(state.params["bias"]).astype(np.float32)
    batch = jax.device_put(next(iter(trainer.train_ds)), trainer.sharding.batch)
    after = _on_host(trainer.trainstep.step(state, batch)[0].params["bias"])
    # The mean over all places, so that the derivative is 1.
    np.testing.assert_allclose(before - after.astype(np.float32), 1.0, rtol=1e-2)


def test_a_step_that_meets_nan_changes_nothing(tmp_path):
    trainer = small_run.make_trainer(tmp_path, train_metrics={})
    state = trainer.init_state()
    before = _on_host(state)
    batch = next(iter(trainer.train_ds))
    batch["x"] = np.full_like(batch["x"], np.nan)
    batch = jax.device_put(batch, trainer.sharding.batch)
    after, aux = trainer.trainstep.step(state, batch, is_halted=jnp.asarray(False))
    assert bool(aux.is_halted)
    jax.tree.map(np.testing.assert_array_equal, _on_host(after), before)


def test_a_guarded_run_goes_on_over_what_is_not_finite(tmp_path, capfd):
    """Also: the loop, which allows no transfer that it does not ask for."""
    bad = small_run.Points()
    bad.x[5] = np.nan
    state, _ = small_run.make_trainer(
        tmp_path,
        train_ds=small_run.make_ds(data_source=bad),
        num_train_steps=12,
        log_metrics_every=1,
        nan_guard=kd.train.NanGuard(policy="skip", max_events=100),
        evals={"test": _evaluator()},
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=4),
        hooks={"stop": kd.train.EarlyStopping(metric="test.total", patience=50)},
    ).train()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(_on_host(state.params)))
    capfd.readouterr()


def _evaluator():
    return kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(4),
        ds=small_run.make_ds(training=False, batch_size=16),
        losses={"xentropy": _XENTROPY},
        metrics={},
    )


def test_an_evaluation_gives_the_numbers_of_the_cpu(tmp_path, exact_products):
    trainer = small_run.make_trainer(tmp_path, evals={"test": _evaluator()})
    state = trainer.init_state()
    evaluator = trainer.evals["test"]
    on_gpu = evaluator.evaluate(state, 0).compute().loss_values
    host = _on_host(state.params)
    logits = []
    ds = list(evaluator.ds)
    for batch in ds:
        x = batch["x"] @ host["layers_0"]["kernel"] + host["layers_0"]["bias"]
        x = np.maximum(x, 0)
        logits.append(x @ host["layers_3"]["kernel"] + host["layers_3"]["bias"])
    logits = np.concatenate(logits)
    labels = np.concatenate([batch["label"] for batch in ds])[:, 0]
    shifted = logits - logits.max(-1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    expected = -logprobs[np.arange(len(labels)), labels].mean()
    np.testing.assert_allclose(on_gpu["losses/xentropy"], expected, rtol=1e-5)


def _half_attention(**options):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(2, 64, 4, 32), (2, 64, 2, 32), (2, 64, 2, 32)]
    args = [
        jax.random.normal(key, shape, jnp.bfloat16)
        for key, shape in zip(keys, shapes, strict=True)
    ]

    def run(implementation):
        def loss(*args):
            out = kd.nn.dot_product_attention(
                *args, **options, implementation=implementation
            ).astype(jnp.float32)
            return jnp.sum(out**2), out

        grads, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*args)
        return jax.tree.map(lambda x: np.asarray(x, np.float32), (out, grads))

    return run


_SEGMENTS = np.repeat(np.arange(4, dtype=np.int32), 16)[None].repeat(2, 0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"is_causal": True, "window": 5},
        {
            "is_causal": True,
            "query_segment_ids": _SEGMENTS,
            "key_segment_ids": _SEGMENTS,
        },
        # Some queries see nothing.
        {"mask": np.arange(64)[None, None, :, None] % 5 > 0},
    ],
    ids=lambda options: "+".join(options) or "all",
)
def test_flash_attention_gives_the_numbers_of_the_plain_form(options):
    run = _half_attention(**options)
    flash, plain, chosen = run("cudnn"), run("plain"), run(None)
    # bf16 has 8 bits, and cuDNN rounds the weights of the softmax to them.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=0.03 * np.abs(b).max()),
        flash,
        plain,
    )
    jax.tree.map(np.testing.assert_array_equal, chosen, flash)
