"""Our models on eight devices: each mesh gives the training curve of one device."""

from __future__ import annotations

import copy
import functools

import jax
import numpy as np
import optax
import pytest

from kauldron import kd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("quick_compile"),
    pytest.mark.timeout(900),  # eight devices on the cores of one
]

_NUM_STEPS = 50
# Rectifiers of a U-Net turn on and off where the last bit decides: it drifts apart, as the
# test in f64 shows, by rounding alone.
_F32 = {"vit": 1e-5, "unet": 3e-3, "decoder": 1e-5}
_RNG = np.random.default_rng(0)
_IMAGES = [
    {
        "image": _RNG.standard_normal((16, 16, 3), dtype=np.float32),
        "label": _RNG.integers(4, size=1, dtype=np.int32),
        "mask": _RNG.integers(2, size=(16, 16, 1), dtype=np.int32),
    }
    for _ in range(40)
]
_TOKENS = [
    {
        "tokens": (tokens := _RNG.integers(16, size=9, dtype=np.int32))[:-1],
        "targets": tokens[1:, None],
    }
    for _ in range(40)
]


def _vit():
    encoder = kd.nn.VitEncoder.from_spec(
        num_heads=4,
        hidden_size=16,
        num_layers=2,
        patch_size=(8, 8),
        scan=True,
        image="batch.image",
    )
    return kd.nn.Vit(encoder=encoder, num_classes=4, image="batch.image")


def _unet():
    return kd.nn.UNet(num_classes=2, features=(8, 16), image="batch.image")


def _decoder():
    experts = kd.nn.MoE(num_experts=4, hidden_features=16)
    block = kd.nn.DecoderBlock(
        attention=kd.nn.GQAttention(num_heads=4, num_kv_heads=2), feed_forward=experts
    )
    return kd.nn.CausalLM(
        vocab_size=16,
        features=16,
        num_layers=2,
        blocks=[block],
        scan_layers=True,
        tokens="batch.tokens",
    )


MODELS = {
    "vit": (_vit, _IMAGES, "batch.label"),
    "unet": (_unet, _IMAGES, "batch.mask"),
    "decoder": (_decoder, _TOKENS, "batch.targets"),
}
MESHES = {
    "data": {"data": -1},
    "fsdp": {"fsdp": -1},
    "tensor": {"data": 4, "tensor": 2},
    "all": {"data": 2, "fsdp": 2, "tensor": 2},
    "experts": {"data": 2, "expert": 4},
    "sequence": {"data": 2, "sequence": 4},
    "stages": {"data": 4, "stage": 2},
    "stages, all": {"stage": 2, "fsdp": 2, "tensor": 2},
}


def _strategy(model: str, mesh: dict[str, int] | None) -> kd.sharding.ShardingStrategy:
    if mesh is None:  # one device computes all
        return kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED)
    # Convolutions name other axes than the default rules know.
    is_unet = model == "unet" and "tensor" in mesh
    return kd.sharding.Mesh(
        axes=mesh,
        rules={"conv_out": "tensor"} if is_unet else {},
        # The two classes of the last convolution stay whole.
        paths={"head0": ()} if is_unet else {},
    )


def _trainer(model: str, mesh: dict[str, int] | None, **options) -> kd.train.Trainer:
    make, examples, labels = MODELS[model]
    ds = kd.data.py.DataSource
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels=labels
    )
    accuracy = kd.metrics.Accuracy(logits="preds.logits", labels=labels)
    changes = {
        "seed": 0,
        "train_ds": ds(examples, batch_size=8, shuffle=True),
        # The last of its batches has five examples.
        "eval_ds": ds(examples[:37], batch_size=16, shuffle=False, num_epochs=1),
        "model": make(),
        "train_losses": {"xentropy": loss},
        "train_metrics": {"accuracy": accuracy},
        # Small steps, without Adam: differences of the last bit stay small.
        "optimizer": optax.sgd(0.03, momentum=0.9),
        "num_train_steps": _NUM_STEPS,
        "sharding": _strategy(model, mesh),
        "evals": {
            "end": kd.evals.Evaluator(
                run=kd.evals.Final(), metrics={"accuracy": accuracy}
            )
        },
        **options,
    }
    return kd.train.Trainer(**changes)


def _train(model: str, mesh: dict[str, int] | None, **options):
    trainer = _trainer(model, mesh, **options)
    state, losses = trainer.init_state(), []
    batches = trainer.train_ds.take(trainer.num_train_steps)
    for batch in batches.device_put(trainer.sharding.batch):
        state, aux = trainer.trainstep.step(
            state, batch, return_losses=True, return_metrics=True
        )
        losses.append(aux)
    aux = trainer.evals["end"].evaluate(state, 0).compute()
    measured = [a.compute() for a in losses]
    return {
        "losses": [a.loss_values["losses/xentropy"] for a in measured],
        "accuracy": [a.metric_values["metrics/accuracy"] for a in measured]
        + [aux.metric_values["metrics/accuracy"]],
        "params": jax.device_get(state.params),
        "opt_state": jax.device_get(state.opt_state),
        "evaluation": aux.loss_values,
    }


@pytest.fixture(scope="module")
def on_one_device():
    return functools.cache(lambda model: _train(model, None))


def _assert_same(found, expected, tolerance):
    # How many are right jumps where two logits are equal but for the last bit.
    right = [x.pop("accuracy") for x in (found, expected)]
    np.testing.assert_allclose(*right, atol=max(1e-3, 10 * tolerance))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance),
        found,
        expected,
    )


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("model", MODELS)
def test_training_on_a_mesh_is_that_of_one_device(on_one_device, model, mesh):
    if "expert" in mesh and model != "decoder":
        pytest.skip("there are no experts")
    if model == "unet" and {"sequence", "stage"} & set(mesh):
        pytest.skip("there are neither tokens nor layers that are scanned")
    # Sums of f32 in another order, through fifty steps.
    tolerance = _F32[model]
    _assert_same(_train(model, mesh), copy.deepcopy(on_one_device(model)), tolerance)


def _train_by_hand(trainer, initial, batches, *, dtype):
    """Parameters after a plain loop over the model of a trainer, in any precision."""
    model, optimizer, strategy = trainer.model, trainer.optimizer, trainer.sharding
    _, _, labels = MODELS["unet"]
    name = labels.removeprefix("batch.")

    def loss(params, batch):
        logits = model.apply({"params": params}, batch["image"])["logits"]
        assert logits.dtype == dtype
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return entropy(logits, batch[name][..., 0]).mean()

    @jax.jit
    def step(params, opt_state, batch):
        with strategy.set_global_mesh():
            grads = jax.grad(loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return kd.sharding.with_sharding_constraint(params, strategy.params), opt_state

    def placed(tree, sharding):
        tree = jax.tree.map(
            lambda x: x.astype(dtype) if x.dtype == np.float32 else x, tree
        )
        return kd.sharding.device_put(tree, sharding)

    params = placed(initial, strategy.params)
    opt_state = optimizer.init(params)
    for batch in batches:
        params, opt_state = step(params, opt_state, placed(batch, strategy.batch))
        jax.block_until_ready(params)
    return jax.device_get(params)


def test_in_f64_a_unet_on_a_mesh_is_that_of_one_device():
    trainers = [_trainer("unet", mesh) for mesh in (None, {"data": 2, "fsdp": 4})]
    initial = jax.device_get(trainers[0].init_state().params)
    batches = list(trainers[0].train_ds.take(_NUM_STEPS))
    with jax.enable_x64(True):
        alone, on_mesh = (
            _train_by_hand(t, initial, batches, dtype=np.float64) for t in trainers
        )
    # 3e-16, where in f32 it is 4e-4.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10),
        on_mesh,
        alone,
    )


# Some parts frozen, as with adapters; gradients in parts; an average of the parameters.
_PARTS = kd.optim.by_path(
    {"embedding": None, "head": optax.adam(1e-3), "**": optax.sgd(0.03, momentum=0.9)}
)
COMBINED = {
    "accumulation, recomputation, average, frozen parts": (
        {
            "grad_accum_steps": 2,
            "remat": kd.train.Remat(modules=["layers.layer_*"], prevent_cse=False),
            "optimizer": optax.chain(_PARTS, kd.optim.ema_params(decay=0.9)),
        },
        1e-5,
    ),
    # With eight bits of a mantissa, results differ from the third digit on.
    "bf16": ({"precision": "bf16"}, 2e-2),
}


@pytest.fixture(scope="module")
def combined_on_one_device():
    return functools.cache(
        lambda name: _train("decoder", None, num_train_steps=10, **COMBINED[name][0])
    )


@pytest.mark.parametrize(
    "mesh",
    [{"fsdp": 2, "tensor": 2, "sequence": 2}, {"data": 2, "stage": 2, "expert": 2}],
    ids=["fsdp, tensor, sequence", "stages, experts"],
)
@pytest.mark.parametrize("name", COMBINED)
def test_options_of_a_run_keep_their_meaning_on_a_mesh(
    combined_on_one_device, mesh, name
):
    options, tolerance = COMBINED[name]
    expected = copy.deepcopy(combined_on_one_device(name))
    found = _train("decoder", mesh, num_train_steps=10, **options)
    _assert_same(found, expected, tolerance)
