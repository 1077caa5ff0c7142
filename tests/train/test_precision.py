"""Precision: dtypes by path, loss scaling, what the optimizer keeps."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, konfig
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")

BF16 = kd.train.Precision(
    compute="bfloat16", overrides={"**.norm": {"compute": "float32"}}
)
LOSSES = {
    "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.label"
    )
}


class Net(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(name="norm")(nn.Dense(8, name="first")(x))
        return {"logits": nn.Dense(2, name="head")(nn.relu(x))}


def make_trainer(workdir="unused", **changes):
    kwargs = {
        "model": Net(),
        "train_losses": LOSSES,
        "train_metrics": {},
        "num_train_steps": 5,
        "precision": BF16,
        **changes,
    }
    return small_run.make_trainer(workdir, **kwargs)


def dtypes(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree)}


def test_activations_follow_the_policy_and_the_rest_is_f32():
    context = make_trainer().context_specs
    outputs = {
        k: v["__call__"][0].dtype for k, v in context.interms.items() if k[0] != "_"
    }
    assert {k: outputs[k].name for k in ("first", "norm", "head")} == {
        "first": "bfloat16",
        "norm": "float32",
        "head": "bfloat16",
    }
    f32 = (context.params, context.grads, context.preds, context.loss_total)
    assert dtypes(f32) == {"float32"}
    assert dtypes([s.total for s in context.loss_states.values()]) == {"float32"}


def test_losses_are_f32_whatever_the_model_returns():
    precision = kd.train.Precision(compute="bfloat16", output="bfloat16")
    context = make_trainer(precision=precision).context_specs
    assert dtypes(context.preds) == {"bfloat16"}
    numbers = [(s.total, s.count) for s in context.loss_states.values()]
    assert dtypes((numbers, context.loss_total)) == {"float32"}


def test_evaluators_measure_in_the_precision_of_the_training(tmp_path):
    seen = []

    class Seen(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            seen.append((str(x.dtype), self.is_initializing()))
            return {"logits": nn.Dense(2)(x)}

    trainer = make_trainer(
        tmp_path,
        model=Seen(),
        precision=kd.train.Precision(compute="bfloat16"),
        evals={"e": kd.evals.Evaluator(run=kd.evals.Final())},
    )
    state = trainer.init_state()
    seen.clear()
    trainer.evals["e"].evaluate(state, 0)
    assert set(seen) == {("bfloat16", False)}


def test_output_is_that_of_the_last_glob_that_matches_the_module_itself():
    precision = kd.train.Precision(
        overrides={
            "*": {"output": "bfloat16"},
            "head": {"output": "float16"},
        }
    )
    context = make_trainer(precision=precision).context_specs
    outputs = {
        k: v["__call__"][0].dtype.name
        for k, v in context.interms.items()
        if k[0] != "_"
    }
    assert outputs == {"first": "bfloat16", "norm": "bfloat16", "head": "float16"}


def test_overrides_hold_inside_of_a_module_and_the_last_one_wins():
    precision = kd.train.Precision(
        compute="bfloat16",
        overrides={
            "encoder": {"compute": "float32", "params": "bfloat16"},
            "encoder.block_*.head": {"compute": "bfloat16"},
        },
    )
    params = {
        "encoder": {"block_0": {"head": {"w": jnp.ones(2)}, "mlp": {"w": jnp.ones(2)}}},
        "count": jnp.int32(3),
    }
    computed = precision.cast_params(params, use="compute")
    assert computed["encoder"]["block_0"]["head"]["w"].dtype == jnp.bfloat16
    assert computed["encoder"]["block_0"]["mlp"]["w"].dtype == jnp.float32
    assert computed["count"].dtype == jnp.int32
    assert dtypes(precision.cast_params(params, use="params")) == {"bfloat16", "int32"}


def test_globs_of_modules_are_not_those_of_parameters():
    precision = kd.train.Precision(
        compute="bfloat16", overrides={"**.scale": {"compute": "float32"}}
    )
    params = {"scale": {"w": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}
    computed = precision.cast_params(params, use="compute")
    assert computed["scale"]["w"].dtype == jnp.float32
    assert computed["norm"]["scale"].dtype == jnp.bfloat16


def test_glob_that_matches_no_module_is_reported_with_near_ones():
    precision = kd.train.Precision(overrides={"**.nrom": {"compute": "float32"}})
    with pytest.raises(
        ValueError,
        match=r"`cfg\.precision\.overrides` has '\*\*\.nrom', which matches no module\. "
        r"Near: \['\*\*\.norm'",
    ):
        make_trainer(precision=precision).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"compute": "bfloat61"},
            r"`Precision\.compute` .*'bfloat61'. Did you mean 'bf",
        ),
        ({"params": "int8"}, r"`Precision\.params` must be a float dtype.* got 'int8'"),
        ({"compute": "float16"}, "Gradients vanish in float16 without loss scaling"),
        ({"params": "float16"}, "Parameters kept in float16 lose small updates"),
        ({"overrides": {"a": {"comptue": "float32"}}}, r"has 'comptue'.*'compute'"),
        ({"opt_state": "bf"}, r"`Precision\.opt_state` must be a float dtype"),
        ({"opt_state": "float16"}, r"'bfloat16' or 'float32': got 'float16'"),
    ],
)
def test_precision_that_means_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        kd.train.Precision(**changes)


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (
            "bfloat16",
            r"'bf16', 'fp16', 'f32'\], or None: got 'bfloat16'\. Did .*'bf16'",
        ),
        ("bf61", r"got 'bf61'\. Did you mean 'bf16'\?"),
        (3, r"`precision` must be a `kd\.train\.Precision\(\.\.\.\)`, .* got 3"),
        ({"compute": "bfloat16"}, r"or None: got {'compute': 'bfloat16'}"),
    ],
)
def test_what_is_no_precision_and_no_name_of_one_is_refused(precision, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(precision=precision)


def test_names_stand_for_a_precision():
    bf16 = kd.train.Precision(compute="bfloat16")
    fp16 = kd.train.Precision(compute="float16", loss_scale=kd.train.DynamicLossScale())
    expected = {"bf16": bf16, "fp16": fp16, "f32": kd.train.Precision()}
    for name, precision in expected.items():
        assert kd.train.Precision.from_name(name) == precision
        trainer = make_trainer(precision=name)
        assert trainer.precision == precision
        assert trainer.trainstep.precision == precision
        assert trainer.replace(num_train_steps=3).precision == precision


def test_names_are_set_from_the_command_line_and_others_are_refused_there():
    with konfig.imports():
        from kauldron import kd as kd_
    cfg = kd_.train.Trainer()
    konfig.apply_overrides(cfg, konfig.parse_overrides(["--cfg.precision=fp16"]))
    assert cfg.precision == "fp16"
    cfg = kd_.train.Trainer()
    with pytest.raises(ValueError, match=r"'bf16', 'fp16', 'f32'.*got 'bf61'"):
        konfig.apply_overrides(cfg, konfig.parse_overrides(["--cfg.precision=bf61"]))


def test_parameters_in_16_bits_without_a_precision_are_told(capsys):
    class Narrow(nn.Module):
        x: kd.kontext.Key = "batch.x"

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(8, param_dtype="bfloat16", name="first")(x)
            return {"logits": nn.Dense(2)(x)}

    make_trainer(model=Narrow(), precision=None).check()
    told = capsys.readouterr().err
    assert "`params.first.bias` and 1 other parameters are kept in bfloat16" in told
    assert "an update of less than 1/256 of a value is lost" in told
    make_trainer(model=Narrow(), precision="f32").check()
    make_trainer(precision=None).check()
    assert "are kept in" not in capsys.readouterr().err


def test_precision_is_set_from_the_command_line():
    with konfig.imports():
        from kauldron import kd as kd_
    cfg = konfig.ConfigDict({"precision": kd_.train.Precision()})
    konfig.apply_overrides(
        cfg, konfig.parse_overrides(["--cfg.precision.compute=bfloat16"])
    )
    assert konfig.resolve(cfg)["precision"] == kd.train.Precision(compute="bfloat16")


# fp16


def fp16(**changes):
    return kd.train.Precision(
        compute="float16", loss_scale=kd.train.DynamicLossScale(**changes)
    )


@functools.cache
def _stepper():
    """A run in fp16 whose scale grows after two steps, and one batch."""
    trainer = make_trainer(precision=fp16(initial=1024.0, growth_interval=2))
    batch = jax.device_put(next(iter(trainer.train_ds)), trainer.sharding.batch)
    return trainer, batch


def _step(state, batch):
    trainer, _ = _stepper()
    state, aux = trainer.trainstep.step(state, batch, return_metrics=True)
    return state, aux.compute().metric_values


def test_scale_grows_with_finite_gradients_and_shrinks_with_others():
    trainer, batch = _stepper()
    state = trainer.init_state()
    scales = []
    for _ in range(3):
        state, values = _step(state, batch)
        scales.append(values["metrics/loss_scale"])
    assert scales == [1024, 1024, 2048]

    before = jax.device_get(state)
    huge = {**batch, "x": batch["x"] * 1e9}  # infinite in fp16
    state, values = _step(state, huge)
    assert values["metrics/skipped_updates"] == 1
    assert state.step == before.step + 1
    assert state.opt_state.scale == 1024
    jax.tree.map(np.testing.assert_array_equal, state.params, before.params)
    jax.tree.map(
        np.testing.assert_array_equal, state.opt_state.inner, before.opt_state.inner
    )
    state, values = _step(state, batch)
    assert values["metrics/skipped_updates"] == 1
    assert not np.array_equal(
        state.params["head"]["kernel"], before.params["head"]["kernel"]
    )
    # Every step is the same program.
    assert trainer.trainstep._jitted_step._cache_size() == 1


@pytest.mark.slow
def test_gradient_in_fp16_does_not_depend_on_the_scale():
    grads = []
    for initial in (2.0**4, 2.0**10):
        trainer = make_trainer(precision=fp16(initial=initial))
        batch = next(iter(trainer.train_ds))
        state = trainer.init_state()
        step = jax.jit(lambda s, b, t=trainer: t.trainstep._step(s, b)[1].grads)
        grads.append(step(state, batch))
    # Powers of two change no digit, where nothing is subnormal.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *grads
    )


def test_run_in_fp16_continues_bit_for_bit(tmp_path):
    """The scale has shrunk before the checkpoint, and grows after it."""
    trainer = make_trainer(precision=fp16(initial=2.0**24, growth_interval=3))
    checkpointer = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1)
    batches = list(trainer.train_ds.take(12).device_put(trainer.sharding.batch))
    state = trainer.init_state()
    for i, batch in enumerate(batches):
        if i == 7:
            checkpointer.save(state, step=7, force=True)
            checkpointer.wait_until_finished()
        state, _ = trainer.trainstep.step(state, batch)
    restored = checkpointer.restore(trainer.init_state(), step=7)
    checkpointer.close()
    num_skipped = int(restored.opt_state.num_skipped)
    assert num_skipped > 0
    for batch in batches[7:]:
        restored, _ = trainer.trainstep.step(restored, batch)
    assert small_run.state_hash(restored) == small_run.state_hash(state)
    assert state.opt_state.scale != 2.0 ** (24 - num_skipped)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": 0}, r"`DynamicLossScale\.initial` must be > 0: got 0"),
        ({"backoff_factor": 2.0}, r"`DynamicLossScale\.backoff_factor` .* \(0, 1\)"),
        ({"growth_interval": 0}, r"`DynamicLossScale\.growth_interval` .*>= 1"),
        ({"growth_factor": 1.0}, r"`DynamicLossScale\.growth_factor` .*> 1"),
    ],
)
def test_loss_scale_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        kd.train.DynamicLossScale(**changes)


# The optimizer


def test_first_moments_have_their_own_dtype_and_the_rest_is_f32():
    optimizer = optax.chain(optax.adam(1e-2), kd.optim.ema_params(decay=0.999))
    for params, opt_state in [("float32", "bfloat16"), ("bfloat16", "float32")]:
        precision = kd.train.Precision(params=params, opt_state=opt_state)
        trainer = make_trainer(precision=precision, optimizer=optimizer)
        state = trainer.state_specs
        after, _ = jax.eval_shape(
            trainer.trainstep._step, state, next(iter(trainer.train_ds))
        )
        for s in (state, after):
            (adam, _), average = s.opt_state
            assert dtypes(adam.mu) == {opt_state}
            assert dtypes(adam.nu) == {"float32"}
            assert dtypes(s.params) == {params}
            assert dtypes(average.ema) == {"float32"}


@pytest.mark.slow
def test_average_of_a_bf16_run_with_accumulation_is_that_of_its_parameters(tmp_path):
    history = []

    class Recording(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            history.append(jax.device_get(state.params))

    with_average = kd.evals.Evaluator(
        run=kd.evals.Final(), init_transform=kd.optim.UseEmaParams()
    )
    trainer = make_trainer(
        tmp_path,
        optimizer=optax.chain(
            optax.adam(1e-1), kd.optim.ema_params(decay=0.5, debias=False)
        ),
        grad_accum_steps=2,
        evals={"record": Recording(run=kd.evals.EveryNSteps(1)), "ema": with_average},
    )
    state, _ = trainer.train()
    expected = history[0]
    for params in history[1:]:
        expected = jax.tree.map(lambda a, b: 0.5 * a + 0.5 * b, expected, params)
    averaged = with_average.init_transform.transform(state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        averaged.params,
        expected,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clip_by_global_norm", {"max_norm": 1e-3}),
        ("clip", {"max_delta": 1e-3}),
        ("adaptive_grad_clip", {"clipping": 1e-3}),
    ],
)
def test_clipping_by_a_config_bounds_the_updates(name, arguments):
    with konfig.imports():
        import optax as optax_
    cfg = optax_.chain(getattr(optax_, name)(**arguments), optax_.identity())
    trainer = make_trainer(optimizer=konfig.resolve(cfg), precision=None)
    batch = next(iter(trainer.train_ds))
    state = trainer.init_state()
    context = jax.jit(lambda s, b: trainer.trainstep._step(s, b)[1])(state, batch)
    kernel = context.updates["head"]["kernel"]
    grad = np.asarray(context.grads["head"]["kernel"])
    norm = np.sqrt(
        sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(context.grads))
    )
    if name == "clip":
        expected = np.clip(grad, -1e-3, 1e-3)
    elif name == "clip_by_global_norm":
        expected = grad * 1e-3 / norm
    else:  # each unit by the norm of its weights; Brock et al. 2021, eq. 3
        weights = np.linalg.norm(state.params["head"]["kernel"], axis=0)
        expected = grad * 1e-3 * weights / np.linalg.norm(grad, axis=0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-4)
    assert np.abs(expected).max() < np.abs(grad).max()


def test_norm_of_the_gradient_is_a_metric_away(tmp_path):
    trainer = make_trainer(
        precision=None, train_metrics={"grad_norm": kd.metrics.GlobalNorm()}
    )
    batch = next(iter(trainer.train_ds))
    context = jax.jit(lambda s, b: trainer.trainstep._step(s, b)[1])(
        trainer.init_state(), batch
    )
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(context.grads)])
    norm = context.metric_states["grad_norm"].compute()
    np.testing.assert_allclose(norm, np.linalg.norm(flat), rtol=1e-6)
