"""LoRA: frozen weights outside of the parameters, updates that are a @ b, PEFT's files."""

from __future__ import annotations

import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors import numpy as safetensors_numpy

from kauldron import kd
from tests.lm.tuning import make_peft, tiny
from tests.metrics.contract import COMPILE_FAST

TOKENS = tiny.rows(0)["tokens"]


@functools.cache
def plain_weights():
    init = jax.jit(tiny.decoder().init, compiler_options=COMPILE_FAST)
    return jax.tree.map(np.array, dict(init(jax.random.key(1), TOKENS)["params"]))


@pytest.fixture(scope="module")
def tuned():
    """A model whose updates are not zero, its variables, and what it says."""
    model = kd.lm.LoRA(model=tiny.decoder(), rank=3, alpha=6.0, targets=tiny.BOTH)

    @jax.jit
    def run(variables):
        outputs, _ = model.apply(variables, TOKENS, mutable=["intermediates"])
        without = model.apply(variables, TOKENS, method="without_adapters")
        return outputs["logits"], without["logits"]

    variables = jax.jit(model.init, compiler_options=COMPILE_FAST)(
        jax.random.key(0), TOKENS
    )
    logits, _ = run(variables)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(x.dtype), variables["params"]
    )
    changed = {**variables, "params": params}
    return types.SimpleNamespace(
        model=model,
        start=variables,
        start_logits=logits,
        variables=changed,
        logits=run(changed),
    )


def test_a_model_starts_as_it_was(tuned):
    apply = jax.jit(tuned.model.model.apply, compiler_options=COMPILE_FAST)
    plain = apply({"params": tuned.start["base"]}, TOKENS)
    np.testing.assert_allclose(tuned.start_logits, plain["logits"], atol=1e-6)


def test_parameters_are_the_updates_alone_and_weights_a_collection(tuned):
    params = kd.kontext.flatten_with_path(tuned.start["params"])
    base = kd.kontext.flatten_with_path(tuned.start["base"])
    assert {k.rsplit(".", 1)[1] for k in params} == {"a", "b"}
    assert len(params) == 2 * 2 * 7  # a and b of seven kernels in two layers
    assert "embedding" in base
    assert params["layer_0.attention.out.kernel.a"].shape == (2, 8, 3)
    assert params["layer_0.attention.out.kernel.b"].shape == (3, 16)


def test_the_model_is_that_of_weights_plus_scaled_products(tuned):
    weights = jax.tree.map(np.array, dict(tuned.variables["base"]))
    for layer in ("layer_0", "layer_1"):
        for part in ("query", "key", "value", "out"):
            pair = tuned.variables["params"][layer]["attention"][part]["kernel"]
            a, b = pair["a"].reshape(-1, 3), pair["b"].reshape(3, -1)
            kernel = weights[layer]["attention"][part]["kernel"]
            kernel += 6.0 / 3 * (a @ b).reshape(kernel.shape)
        for part in ("gate", "up", "down"):
            pair = tuned.variables["params"][layer]["feed_forward"][part]["kernel"]
            kernel = weights[layer]["feed_forward"][part]["kernel"]
            kernel += 6.0 / 3 * (pair["a"] @ pair["b"])
    apply = jax.jit(tuned.model.model.apply, compiler_options=COMPILE_FAST)
    expected = apply({"params": weights}, TOKENS)["logits"]
    np.testing.assert_allclose(tuned.logits[0], expected, rtol=1e-3, atol=1e-3)
    merged = kd.lm.merge_lora(tuned.model, tuned.variables["params"], tuned.variables)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        merged,
        weights,
    )


def test_without_adapters_it_is_the_model_before_training(tuned):
    np.testing.assert_allclose(tuned.logits[1], tuned.start_logits, atol=1e-6)


def test_files_have_the_names_and_shapes_of_peft(tuned, tmp_path):
    folder = kd.lm.save_adapter(tmp_path, tuned.model, tuned.variables["params"])
    tensors = safetensors_numpy.load_file(folder / "adapter_model.safetensors")
    assert len(tensors) == 28
    prefix = "base_model.model.model.layers.1"
    down = tuned.variables["params"]["layer_1"]["feed_forward"]["down"]["kernel"]
    lora_a = tensors[f"{prefix}.mlp.down_proj.lora_A.weight"]
    lora_b = tensors[f"{prefix}.mlp.down_proj.lora_B.weight"]
    # As in PyTorch: y = x @ lora_A.T @ lora_B.T.
    np.testing.assert_array_equal(lora_a.T @ lora_b.T, down["a"] @ down["b"])
    assert tensors[f"{prefix}.self_attn.o_proj.lora_A.weight"].shape == (3, 16)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 6.0)
    assert "q_proj" in config["target_modules"]


@pytest.mark.parametrize("name", make_peft.TARGETS)
def test_peft_computes_the_same_with_the_files(name):
    fixture = json.loads(make_peft.FIXTURE.read_text())[name]
    lora, params, collections = make_peft.tuned(make_peft.TARGETS[name])
    assert fixture["num_adapted"] == len(jax.tree.leaves(params)) / 2
    tokens = np.array(make_peft.TOKENS, np.int32)
    weights = kd.lm.merge_lora(lora, params, collections)
    apply = jax.jit(lora.model.apply, compiler_options=COMPILE_FAST)
    logits = apply({"params": weights}, tokens)["logits"]
    np.testing.assert_allclose(logits[:, -1, ::10], fixture["logits"], atol=2e-4)


def test_saved_adapters_load_as_they_were(tuned, tmp_path):
    params = tuned.variables["params"]
    kd.lm.save_adapter(tmp_path, tuned.model, params)
    loaded = kd.lm.load_adapter(tmp_path, tuned.model, tuned.start["params"])
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 2}, "r=3, the model 2"),
        ({"targets": ("**.attention.*.kernel",)}, "no adapter of the model"),
    ],
)
def test_adapters_of_another_model_are_told(tuned, tmp_path, change, message):
    params = tuned.variables["params"]
    kd.lm.save_adapter(tmp_path, tuned.model, params)
    other = tuned.model.clone(**change)
    shapes = {k: {"attention": v["attention"]} for k, v in params.items()}
    with pytest.raises(kd.lm.LoRAError, match=message):
        kd.lm.load_adapter(tmp_path, other, shapes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ("**.attn.*.kernel",)}, "matches no parameter"),
        ({"targets": ("**.attention_norm",)}, "needs a matrix"),
        ({"targets": "**.kernel"}, "Put it into brackets"),
        ({"rank": 0}, "`rank` must be >= 1"),
        ({"rank": 17, "targets": ("**.query.kernel",)}, "is more than"),
        ({"base_dtype": "int4"}, "'int8' or None"),
    ],
)
def test_adapters_that_do_not_fit_are_told_before_compiling(options, message):
    model = kd.lm.LoRA(model=tiny.decoder(), **options)
    with pytest.raises(kd.lm.LoRAError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), TOKENS)


def test_layers_of_a_scan_and_experts_have_an_update_each():
    moe = kd.nn.MoE(num_experts=4, hidden_features=8)
    inner = tiny.decoder(family="mixtral", moe=moe, scan_layers=True)
    model = kd.lm.LoRA(model=inner, rank=2, targets=("**.up", "**.down", "**.query.*"))
    variables = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    layer = variables["params"]["layers"]["layer_0"]
    assert layer["feed_forward"]["up"]["a"].shape == (2, 4, 16, 2)
    assert layer["feed_forward"]["down"]["b"].shape == (2, 4, 2, 16)
    assert layer["attention"]["query"]["kernel"]["b"].shape == (2, 2, 2, 8)


def test_axes_of_weights_and_updates_have_names():
    model = kd.lm.LoRA(
        model=tiny.decoder(), rank=2, targets=("**.out.kernel",), base_dtype="int8"
    )
    axes = kd.nn.logical_axes(model, TOKENS)
    update = axes["params"]["layer_0"]["attention"]["out"]["kernel"]
    assert tuple(update["a"]) == ("heads", "head_dim", None)
    assert tuple(update["b"]) == (None, "embed")
    kept = axes["base"]["layer_0"]["attention"]["out"]["kernel"]
    assert tuple(kept["int8"]) == ("heads", "head_dim", "embed")
    assert tuple(kept["scale"]) == (None, None, "embed")


def test_eight_bits_are_within_half_a_step_and_take_a_quarter_of_the_memory():
    model = kd.lm.LoRA(model=tiny.decoder(), rank=1, base_dtype="int8")
    plain = plain_weights()
    base = model.keep(plain, model.axis_names(TOKENS))
    up = base["layer_0"]["feed_forward"]["up"]["kernel"]
    assert up["int8"].dtype == jnp.int8
    assert up["scale"].shape == (1, 32)
    weights = model.weights({}, base)

    def check(kept, original):
        if original.ndim == 1:  # norms are kept as they are
            np.testing.assert_array_equal(kept, original)
        else:
            step = np.abs(original).max() / 127
            np.testing.assert_allclose(kept, original, atol=0.51 * step)

    jax.tree.map(check, weights, plain)
    num_bytes = sum(x.nbytes for x in jax.tree.leaves(base))
    assert num_bytes < 0.45 * sum(x.nbytes for x in jax.tree.leaves(plain))


def make_trainer(tmp_path, model, weights, **options):
    losses = {
        "nats": kd.lm.TokenCrossEntropy(
            logits="preds.logits", targets="batch.targets", mask="batch.loss_mask"
        )
    }
    return kd.train.Trainer(
        seed=0,
        workdir=tmp_path,
        train_ds=kd.data.py.DataSource(
            [jax.tree.map(lambda x, i=i: x[i], tiny.rows(0)) for i in range(8)],
            batch_size=8,
            shuffle=False,
        ),
        model=model,
        optimizer=optax.adam(1e-2),
        num_train_steps=2,
        train_losses=losses,
        init_transform=kd.lm.BaseWeights(weights),
        **options,
    )


@pytest.mark.slow
def test_training_changes_the_updates_and_no_weight(tmp_path):
    plain = plain_weights()
    model = kd.lm.LoRA(model=tiny.decoder(), rank=2)
    trainer = make_trainer(tmp_path, model, plain)
    state, _ = trainer.train()
    jax.tree.map(np.testing.assert_array_equal, dict(state.collections["base"]), plain)
    b = state.params["layer_0"]["attention"]["query"]["kernel"]["b"]
    assert np.abs(b).max() > 1e-3
    # Two moments of each update, and of nothing else.
    num_trained = sum(x.size for x in jax.tree.leaves(state.params))
    kept = [x.size for x in jax.tree.leaves(state.opt_state) if x.ndim]
    assert sum(kept) == 2 * num_trained


def test_weights_of_another_model_are_told(tmp_path):
    plain = plain_weights()
    other = {**plain, "embedding": np.zeros((7, 16), np.float32)}
    model = kd.lm.LoRA(model=tiny.decoder(), rank=2)
    with pytest.raises(Exception, match=r"`embedding` is \(7, 16\), and \(32, 16\)"):
        make_trainer(tmp_path, model, other).train()
