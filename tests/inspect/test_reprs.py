"""What a notebook shows of a trainer and of a state: what they are, no pages of numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from IPython.lib import pretty

from kauldron import kd
from tests.train import small_run


def test_a_state_is_told_by_counts():
    state = kd.train.TrainState(
        step=jnp.int32(7),
        params={"a": jnp.zeros((2, 3)), "b": jnp.zeros(4, jnp.bfloat16)},
        opt_state=(jnp.zeros(()), None),
    )
    assert repr(state) == (
        "TrainState(step=7; params: 10 numbers in 2 arrays, 32 B; "
        "opt_state: 1 number in 1 array, 4 B)"
    )


def test_states_without_values_are_told_too():
    state = kd.train.TrainState(step=jnp.int32(0), params={"a": jnp.zeros(3)})
    seen = []
    jax.eval_shape(lambda s: seen.append(repr(s)), state)
    specs = jax.eval_shape(lambda: state)
    assert "3 numbers" in seen[0] and "3 numbers" in repr(specs)
    with jax.transfer_guard("disallow"):
        assert "step=0" in repr(state)
    state.step.delete()
    assert "step=used up" in repr(state)


def test_a_trainer_is_told_by_its_parts(tmp_path):
    trainer = small_run.make_trainer(tmp_path, num_train_steps=3)
    text = pretty.pretty(trainer)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert str(tmp_path) in lines["workdir"]
    assert lines["num_train_steps"].split() == ["num_train_steps", "3"]
    [name] = trainer.train_losses
    kind = type(trainer.train_losses[name]).__name__
    assert f"{name} ({kind})" in lines["train_losses"]
    assert "checkpointer" not in lines  # none is set
    assert len(text.splitlines()) < 20 and "show_trainer_info" in text
    assert "seed=" in repr(trainer)  # all fields, as before
