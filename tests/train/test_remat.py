"""Rematerialisation by module path: same numbers, less memory."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd
from tests.train import small_run

pytestmark = pytest.mark.usefixtures("quick_compile")


class Block(nn.Module):
    is_training = kd.nn.train_property()

    @nn.compact
    def __call__(self, x, *, deterministic=False):
        h = nn.Dense(16)(x)
        h = nn.BatchNorm(use_running_average=not self.is_training)(h)
        h = nn.Dropout(0.5, deterministic=deterministic)(nn.gelu(h))
        self.sow("intermediates", "hidden", h)
        return nn.Dense(x.shape[-1])(h)


class Net(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16)(x)
        x = x + Block(name="block_0")(x, deterministic=False)
        return {"logits": Block()(x)}


def make_trainer(workdir="unused", **changes):
    return small_run.make_trainer(
        workdir, **{"model": Net(), "train_metrics": {}, **changes}
    )


REMAT = kd.train.Remat(modules=["block_*", "**.Block_0"])


def test_parameters_gradients_and_intermediates_are_the_same_bits():
    results = []
    for remat in (None, REMAT):
        metrics = {"h": kd.metrics.Std(values="interms.block_0.hidden[0]")}
        trainer = make_trainer(remat=remat, train_metrics=metrics)
        batch = next(iter(trainer.train_ds))
        state = trainer.init_state()
        context = jax.jit(lambda s, b, t=trainer: t.trainstep._step(s, b)[1])(
            state, batch
        )
        results.append(
            (state.params, context.grads, context.collections, context.interms)
        )
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_all_intermediates_are_recorded_once():
    plain = make_trainer().context_specs.interms
    assert jax.tree.structure(make_trainer(remat=REMAT).context_specs.interms) == (
        jax.tree.structure(plain)
    )


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(64)(x))), None


class Scanned(nn.Module):
    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=8
        )
        return {"logits": nn.Dense(2)(layers(name="layers")(nn.Dense(16)(x), None)[0])}


def test_memory_shrinks():
    # Of layers in a scan: elsewhere the compiler for CPUs merges both computations.
    sizes = []
    for remat in (None, kd.train.Remat(modules=["layers"])):
        trainer = make_trainer(model=Scanned(), remat=remat)
        batch = {
            "x": jax.ShapeDtypeStruct((4096, 3), "float32"),
            "label": jax.ShapeDtypeStruct((4096, 1), "int32"),
        }
        program = jax.jit(lambda s, b, t=trainer: t.trainstep._step(s, b)[0]).lower(
            trainer.state_specs, batch
        )
        sizes.append(program.compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] < sizes[0] / 2


def test_policy_keeps_what_it_names():
    def num_dots(policy):
        remat = kd.train.Remat(modules=["**"], policy=policy)
        trainer = make_trainer(remat=remat)
        batch = {
            "x": jax.ShapeDtypeStruct((16, 3), "float32"),
            "label": jax.ShapeDtypeStruct((16, 1), "int32"),
        }
        step = jax.make_jaxpr(trainer.trainstep._step)(trainer.state_specs, batch)
        return str(step).count("dot_general[")

    # What is kept is not computed again.
    assert num_dots("dots_saveable") == num_dots("everything_saveable")
    assert num_dots(None) > num_dots("dots_saveable")


@pytest.mark.slow
def test_with_accumulation_and_bf16_it_trains(tmp_path):
    kernels = []
    for remat in (None, REMAT):
        trainer = make_trainer(
            tmp_path / str(remat is None),
            remat=remat,
            precision=kd.train.Precision(compute="bfloat16"),
            grad_accum_steps=2,
            num_train_steps=2,
        )
        flat = kd.kontext.flatten_with_path(trainer.train()[0].params)
        kernels.append({k: np.asarray(v) for k, v in flat.items() if "kernel" in k})
    # What is computed again in bf16 is rounded where it was kept in f32. The biases before
    # a batch norm have a gradient of 0 but for rounding, which Adam scales up.
    for name, kernel in kernels[0].items():
        largest = np.abs(kernel).max()
        np.testing.assert_allclose(kernels[1][name], kernel, atol=1e-2 * largest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"modules": ["blok_*"]},
            r"`cfg\.remat\.modules` has 'blok_\*', which matches no",
        ),
        ({"modules": "block_0"}, r"must be a list of globs.* got 'block_0'"),
        ({"modules": []}, r"must be a list of globs.* got \[\]"),
        (
            {"modules": ["**"], "policy": "dot_saveable"},
            r"no policy 'dot_saveable'. Did you mean 'dots_saveable'",
        ),
    ],
)
def test_remat_that_means_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(remat=kd.train.Remat(**changes)).check()
