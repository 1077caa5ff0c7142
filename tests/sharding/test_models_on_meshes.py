"""Our models on eight devices: each mesh gives the training curve of one device."""

from __future__ import annotations

import copy
import functools

import jax
import numpy as np
import optax
import pytest

from kauldron import kd

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compile")]

# Rectifiers of a U-Net turn on and off where the last bit decides: it drifts apart sooner.
_STEPS = {"vit": 50, "unet": 10, "decoder": 50}
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


def _train(model: str, mesh: dict[str, int] | None, **options):
    make, examples, labels = MODELS[model]
    ds = functools.partial(kd.data.py.DataSource, examples)
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels=labels
    )
    if mesh is None:  # one device computes all
        whole = kd.sharding.REPLICATED
        strategy = kd.sharding.ShardingStrategy(batch=whole)
    else:
        # Convolutions name other axes than the default rules know.
        is_unet = model == "unet" and "tensor" in mesh
        rules = {"conv_out": "tensor"} if is_unet else {}
        # The two classes of the last convolution stay whole.
        paths = {"head0": ()} if is_unet else {}
        strategy = kd.sharding.Mesh(axes=mesh, rules=rules, paths=paths)
    trainer = kd.train.Trainer(
        seed=0,
        train_ds=ds(batch_size=8, shuffle=True),
        eval_ds=ds(batch_size=16, shuffle=False, num_epochs=1),
        model=make(),
        train_losses={"xentropy": loss},
        # Small steps, without Adam: differences of the last bit stay small.
        optimizer=optax.sgd(0.03, momentum=0.9),
        num_train_steps=_STEPS[model],
        sharding=strategy,
        evals={
            "end": kd.evals.Evaluator(
                run=kd.evals.Final(),
                metrics={
                    "accuracy": kd.metrics.Accuracy(
                        logits="preds.logits", labels=labels
                    )
                },
            )
        },
        **options,
    )
    state, losses = trainer.init_state(), []
    for batch in trainer.train_ds.take(_STEPS[model]).device_put(
        trainer.sharding.batch
    ):
        state, aux = trainer.trainstep.step(state, batch, return_losses=True)
        losses.append(aux)
    aux = trainer.evals["end"].evaluate(state, _STEPS[model]).compute()
    return {
        "losses": [a.compute().loss_values["losses/xentropy"] for a in losses],
        "params": jax.device_get(state.params),
        "evaluation": {**aux.loss_values, **aux.metric_values},
    }


@pytest.fixture(scope="module")
def on_one_device():
    return functools.cache(lambda model: _train(model, None))


def _assert_same(found, expected, rtol):
    # How many are right jumps where two logits are equal but for the last bit.
    right = [x["evaluation"].pop("metrics/accuracy") for x in (found, expected)]
    assert abs(right[0] - right[1]) < 1e-3
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize("model", MODELS)
def test_training_on_a_mesh_is_that_of_one_device(on_one_device, model, mesh):
    if "expert" in mesh and model != "decoder":
        pytest.skip("there are no experts")
    if model == "unet" and {"sequence", "stage"} & set(mesh):
        pytest.skip("there are neither tokens nor layers that are scanned")
    # Sums of f32 in another order, through fifty steps.
    _assert_same(_train(model, mesh), copy.deepcopy(on_one_device(model)), rtol=1e-5)
