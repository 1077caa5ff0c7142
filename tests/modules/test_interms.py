"""Intermediate values that modules write and read."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest

from kauldron import kd
from tests.train import small_run


class Inner(nn.Module):
    interms = kd.nn.interms_property()

    @nn.compact
    def __call__(self, x):
        self.interms["doubled"] = 2 * x
        self.interms["doubled"] = 4 * x
        return self.interms["doubled"] + 1


class Outer(nn.Module):
    """Reads what `inner` stored, by the path given."""

    path: str = "inner.doubled[0]"
    x: kd.kontext.Key = "batch.x"

    interms = kd.nn.interms_property()

    @nn.compact
    def __call__(self, x):
        y = Inner(name="inner")(x)
        logits = nn.Dense(2, name="dense")(x)
        return {"y": y, "read": self.interms.get_by_path(self.path), "logits": logits}


def _run(model, x=1.0, **kwargs):
    return model.init_with_output(jax.random.key(0), np.full((1, 1), x), **kwargs)[0]


@pytest.mark.parametrize("mutable", [False, True])
def test_the_last_value_stored_is_read(mutable):
    out = Inner().apply({}, 3.0, mutable=mutable)
    assert (out[0] if mutable else out) == 13.0


def test_all_values_stored_are_intermediates():
    _, state = Inner().apply({}, 3.0, mutable=True)
    assert state["intermediates"] == {"doubled": (6.0, 12.0)}


@pytest.mark.parametrize("path", ["inner.doubled[1]", ".inner.doubled[1]"])
def test_values_of_other_modules_are_read_by_path(path):
    out = _run(Outer(path=path), 3.0)
    assert out["read"] == 12.0


def test_further_dots_lead_to_parents():
    class Reader(nn.Module):
        interms = kd.nn.interms_property()

        @nn.compact
        def __call__(self, x):
            return self.interms.get_by_path("..first.doubled[0]") + x

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Reader(name="second")(Inner(name="first")(x))

    assert Two().apply({}, 3.0) == 6.0 + 13.0
    with pytest.raises(kd.nn.IntermediateError, match="leads out of the model"):
        Reader().apply({}, 3.0)


def test_outputs_are_read_where_they_are_recorded():
    model = Outer(path="inner.__call__[0]")
    variables = {"params": {"dense": {"kernel": np.ones((1, 2)), "bias": np.ones(2)}}}
    recorded = {"mutable": True, "capture_intermediates": True}
    out, _ = model.apply(variables, np.full((1, 1), 3.0), **recorded)
    assert out["read"] == 13.0
    with pytest.raises(kd.nn.IntermediateError, match="capture_intermediates=True"):
        model.apply(variables, np.full((1, 1), 3.0))


def test_a_model_that_reads_outputs_trains_in_a_run(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path, model=Outer(path="dense.__call__[0]"), num_train_steps=1
    )
    state, _ = trainer.train()
    assert int(state.step) == 1


def test_a_value_that_nobody_stored_is_told_with_the_nearest():
    with pytest.raises(kd.nn.IntermediateError, match=r"Did you mean 'inner\.doubled"):
        _run(Outer(path="inner.doubeld[0]"))

    class Early(nn.Module):
        interms = kd.nn.interms_property()

        def __call__(self, x):
            return self.interms["x"]

    with pytest.raises(kd.nn.IntermediateError, match="read before it is stored"):
        Early().apply({}, 1.0)


def test_there_are_no_intermediates_outside_of_a_pass():
    with pytest.raises(ValueError, match="only inside `init` and `apply`"):
        _ = Inner().interms
