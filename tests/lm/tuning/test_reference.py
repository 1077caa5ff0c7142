"""A policy and its frozen reference: log-probabilities, no gradient, no memory."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest
from scipy import special

from kauldron import kd
from tests.lm.tuning import tiny
from tests.metrics.contract import COMPILE_FAST


def _pairs():
    return {"chosen": tiny.rows(1), "rejected": tiny.rows(2, length=4)}


def _logps(model, params, rows):
    outputs = jax.jit(model.apply)({"params": params}, rows["tokens"])
    logits = np.asarray(outputs["logits"])
    logs = special.log_softmax(logits.astype(np.float64), -1)
    return np.take_along_axis(logs, rows["targets"][..., None], -1)[..., 0]


@pytest.fixture(
    scope="module", params=["copy", pytest.param("lora", marks=pytest.mark.slow)]
)
def compared(request):
    inner = tiny.decoder()
    policy = inner
    if request.param == "lora":
        policy = kd.lm.LoRA(model=inner, rank=2)
    model = kd.lm.WithReference(policy=policy)
    init = jax.jit(model.init, compiler_options=COMPILE_FAST)
    variables = init(jax.random.key(0), _pairs())
    return request.param, model, variables


def test_a_policy_starts_equal_to_its_reference(compared):
    kind, model, variables = compared
    outputs = jax.jit(model.apply)(variables, _pairs())
    key = {"copy": "reference", "lora": "base"}[kind]
    weights = variables[key]["policy"]
    for side, rows in _pairs().items():
        expected = _logps(tiny.decoder(), weights, rows)
        for owner in ("policy", "reference"):
            logps = outputs[owner]["logps"][side]
            np.testing.assert_allclose(logps, expected, rtol=1e-4, atol=1e-5)
    assert ("reference" in variables) == (kind == "copy")


def test_only_the_policy_follows_its_parameters(compared):
    _, model, variables = compared
    changed = {
        **variables,
        "params": jax.tree.map(lambda x: x + 0.3, variables["params"]),
    }
    apply = jax.jit(model.apply)
    before, after = apply(variables, _pairs()), apply(changed, _pairs())
    jax.tree.map(np.testing.assert_array_equal, before["reference"], after["reference"])
    assert (
        np.abs(
            after["policy"]["logps"]["chosen"] - before["policy"]["logps"]["chosen"]
        ).max()
        > 0.01
    )


@pytest.mark.parametrize("is_lora", [False, True])
def test_no_array_of_all_logits_is_made(is_lora):
    policy = tiny.decoder().clone(vocab_size=39)
    model = kd.lm.WithReference(
        policy=kd.lm.LoRA(policy, rank=2) if is_lora else policy
    )
    variables = jax.eval_shape(model.init, jax.random.key(0), _pairs())
    frozen = {name: x for name, x in variables.items() if name != "params"}

    def total(params, frozen):
        outputs = model.apply({**frozen, "params": params}, _pairs())
        return outputs["policy"]["logps"]["chosen"].sum()

    jaxpr = str(jax.make_jaxpr(jax.grad(total))(variables["params"], frozen))
    assert f"8,2,{tiny.LENGTH},39]" not in jaxpr
    assert "8,2,1,39]" in jaxpr


def test_rows_that_are_none_are_told():
    model = kd.lm.WithReference(policy=tiny.decoder())
    with pytest.raises(ValueError, match="must have `tokens` and `targets`"):
        model.init(jax.random.key(0), {"chosen": tiny.rows(0)})


def make_step(model):
    return kd.train.TrainStep(
        model=model,
        optimizer=optax.adam(1e-2),
        rng_streams=kd.train.RngStreams(seed=0),
        sharding=kd.sharding.ShardingStrategy(batch=kd.sharding.REPLICATED),
        init_transform=kd.lm.ReferenceFromPolicy(),
        aux=kd.train.Auxiliaries(
            losses={"dpo": kd.lm.DPO(beta=1.0)},
            metrics={"rewards": kd.lm.PreferenceRewards()},
            summaries={},
        ),
        precision=None,
        remat=None,
        grad_accum_steps=1,
    )


@pytest.mark.slow
def test_a_reference_has_no_moments_and_a_step_leaves_it_alone():
    step = make_step(kd.lm.WithReference(policy=tiny.decoder()))
    state = step.init(_pairs())
    reference = jax.tree.map(np.array, state.collections["reference"])
    num_params = sum(x.size for x in jax.tree.leaves(state.params))
    moments = sum(x.size for x in jax.tree.leaves(state.opt_state) if x.ndim)
    assert moments == 2 * num_params

    def run(state, batch):
        return step.step(state, batch)

    lowered = jax.jit(run, donate_argnums=0).lower(state, _pairs())
    memory: Any = lowered.compile().memory_analysis()
    # Parameters, two moments, and the reference, each given and given back in place: no
    # gradient or copy of the reference is among what the step needs besides.
    size = 4 * num_params
    assert memory.argument_size_in_bytes < 4.1 * size + 10_000
    assert memory.alias_size_in_bytes >= 4 * size
    aux: Any = None
    for _ in range(3):
        state, aux = step.step(state, _pairs(), return_losses=True, return_metrics=True)
    jax.tree.map(
        np.testing.assert_array_equal, state.collections["reference"], reference
    )
    values = aux.compute()
    assert values.loss_values["losses/dpo"] < np.log(2)
    assert values.metric_values["metrics/rewards/accuracy"] > 0.9
