"""The compiled step asks for no more than the same maths in a jitted function by hand."""

from __future__ import annotations

import collections

import jax
import numpy as np
import pytest

from kauldron import kd
from tests.benchmarks import loops, small_models
from tests.train import small_run

# A loss is a mean over a mask: a product and a sum for each of its values, and for the
# mask, are more than the mean by hand has. A second pass over parameters is 5 %.
_MORE = 1.002
_ROWS = 8  # as many as there are simulated devices


def _images():
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((_ROWS, 16, 16, 3), np.float32),
        "label": rng.integers(10, size=(_ROWS, 1), dtype=np.int32),
    }


def _tokens():
    rng = np.random.default_rng(0)
    tokens = rng.integers(64, size=(_ROWS, 17), dtype=np.int32)
    return {"x": tokens[:, :-1], "label": tokens[:, 1:, None]}


def _mlp():
    return small_models.Mlp(widths=(32, 32)), small_models.points(_ROWS)


def _vit():
    encoder = kd.nn.VitEncoder.from_spec(1, 16, 2, (8, 8))
    return kd.nn.Vit(encoder=encoder, num_classes=10, image="batch.x"), _images()


def _decoder():
    model = kd.nn.decoder(
        "llama",
        vocab_size=64,
        features=32,
        num_layers=1,
        num_heads=4,
        hidden_features=64,
        tokens="batch.x",
    )
    return model, _tokens()


def _by_hand(trainer, batch):
    """Compiles the step as one writes it, with the same placement and donation."""
    state = trainer.state_specs
    update = loops.plain_step(trainer.model, trainer.optimizer)
    arguments = (state.params, state.opt_state, state.step)
    shardings = jax.tree.map(lambda x: x.sharding, arguments)

    def step(state, batch):
        return update(state, batch)[0]

    jitted = jax.jit(step, donate_argnums=0, out_shardings=shardings)
    return jitted.lower(arguments, batch).compile()


def _costs(compiled):
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    return {
        "flops": cost["flops"],
        "bytes accessed": cost["bytes accessed"],
        "bytes of temporaries": memory.temp_size_in_bytes,
    }


@pytest.mark.parametrize("make", [_mlp, _vit, _decoder])
def test_step_has_no_more_work_and_memory_than_by_hand(make):
    model, batch = make()
    trainer = loops.make_trainer("unused", batch, model=model)
    specs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=trainer.sharding.batch
        ),
        batch,
    )
    ours = _costs(small_run.compile_step(trainer, measures=False))
    by_hand = _costs(_by_hand(trainer, specs))
    assert ours["bytes of temporaries"] <= by_hand["bytes of temporaries"]
    for what in ("flops", "bytes accessed"):
        assert ours[what] <= _MORE * by_hand[what], what


def test_run_compiles_two_steps_a_program_for_each_evaluator_and_nothing_else(tmp_path):
    names = []

    def note(event, duration_secs, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name"))

    jax.clear_caches()  # what other tests have compiled is compiled again
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        small_run.make_trainer(
            tmp_path,
            model=small_models.Mlp(widths=(23,)),  # of no other test
            num_train_steps=8,
            log_metrics_every=4,
            log_summaries_every=loops.NEVER,
            evals={
                "a": kd.evals.Evaluator(run=kd.evals.EveryNSteps(2)),
                "b": kd.evals.Evaluator(run=kd.evals.EveryNSteps(4)),
            },
        ).train()
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert collections.Counter(names) == {
        "jit(_traced_step)": 2,  # with measurements, and without
        "jit(step)": 2,  # of evaluators
        "jit(init)": 2,  # of parameters, of the optimizer's state
    }
