"""A step is compiled once, and only if it is made."""

from __future__ import annotations

import contextlib
import itertools

import flax.linen as nn
import jax
import optax
import pytest
from jax.experimental import checkify

from kauldron import kd
from tests.train import small_run

_NEW = itertools.count(11)


@contextlib.contextmanager
def _compiled_steps():
    """Yields a list that gets a name for each compilation of a training step."""
    names = []

    def note(event, duration_secs, **about):
        is_step = about.get("fun_name") == "jit(_traced_step)"
        if is_step and event.endswith("backend_compile_duration"):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def _model(*more):
    return kd.nn.Sequential(
        inputs="batch.x",
        outputs="logits",
        layers=[nn.Dense(next(_NEW)), *more, nn.relu, nn.Dense(2)],  # of no other test
    )


class _OwnUpdate(kd.train.TrainStep):
    def apply_grads(self, state, context, grads):
        halved = jax.tree.map(lambda x: x / 2, grads)
        return super().apply_grads(state, context, halved)


_OPTIONS = {
    "none": {},
    "a guard": {"nan_guard": kd.train.NanGuard()},
    "checks": {"checkify_error_categories": checkify.user_checks},
    "summaries": {
        "train_summaries": {"x": kd.summaries.HistogramSummary(tensor="preds.logits")}
    },
    "split parameters": {"sharding": "fsdp"},
    "bf16": {"precision": "bf16"},
    "micro-batches": {
        "grad_accum_steps": 2,
        "train_ds": small_run.make_ds(batch_size=32),
    },
    "a schedule": {
        "optimizer": optax.adamw(optax.cosine_decay_schedule(1e-2, 10)),
    },
    "hyperparameters": {
        "optimizer": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    },
    "an own update": {"trainstep": _OwnUpdate()},
}


@pytest.mark.parametrize("name", _OPTIONS)
def test_first_step_is_compiled_once_with_each_option(tmp_path, name):
    model = _model(nn.BatchNorm(use_running_average=False))
    with _compiled_steps() as names:
        small_run.make_trainer(
            tmp_path, model=model, num_train_steps=1, **_OPTIONS[name]
        ).train()
    assert len(names) == 1


def test_resumed_run_compiles_the_step_that_it_goes_on_with(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        model=_model(),
        num_train_steps=4,
        stop_after_steps=3,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=3),
    )
    trainer.train()
    jax.clear_caches()
    again = small_run.make_trainer(
        tmp_path,
        model=trainer.model,
        num_train_steps=4,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=3),
    )
    with _compiled_steps() as names:
        again.train()
    # Step 3 is not logged: it is another program than that of step 0.
    assert len(names) == 1


def test_run_that_is_finished_compiles_no_step(tmp_path):
    changes = {
        "model": _model(),
        "num_train_steps": 1,
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=1),
    }
    small_run.make_trainer(tmp_path, **changes).train()
    jax.clear_caches()
    with _compiled_steps() as names:
        small_run.make_trainer(tmp_path, **changes).train()
    assert not names
