"""Which values of a loss are reported, and losses called inside jit."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, kontext, losses, metrics
from kauldron.train import auxiliaries
from tests.train import small_run

_x = np.arange(4, dtype=np.float32)  # mean 1.5
_logged = losses.Value(values="x", weight=0.5, log_raw=True)
_other = losses.Value(values="x", weight=2.0)


def _aux(tree, *batches):
    contexts = [{"x": x, "step": 0} for x in batches]
    states = [losses.compute_losses(tree, context)[1] for context in contexts]
    merged = None
    for state in states:
        merged = auxiliaries.AuxiliariesState(loss_states=state) | merged
    return merged


def test_raw_value_is_reported_beside_the_weighted_one():
    aux = _aux({"a": _logged, "b": {"c": _other, "d": _logged}}, _x, _x + 2)
    values = aux.compute()
    assert values.loss_values == {
        "losses/a": 1.25,
        "losses/b/c": 5,
        "losses/b/d": 1.25,
        "losses/total": 7.5,  # of the weighted ones
    }
    assert values.raw_loss_values == {"losses_raw/a": 2.5, "losses_raw/b/d": 2.5}
    nested = aux.compute(flatten=False)
    assert nested.raw_loss_values["b"]["d"] == 2.5
    assert "losses_raw" not in str(nested.loss_values)


def test_nothing_raw_is_reported_unless_told():
    assert _aux({"b": _other}, _x).compute().raw_loss_values == {}
    assert auxiliaries.AuxiliariesState().compute().raw_loss_values == {}


def test_raw_value_is_reported_where_the_weight_is_zero():
    loss = dataclasses.replace(_logged, weight=losses.Window(start_step=5))
    values = _aux({"a": loss}, _x).compute()
    assert values.loss_values == {"losses/a": 0, "losses/total": 0}
    assert values.raw_loss_values == {"losses_raw/a": 1.5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OwnState(losses.Loss):
    x: kontext.Key = "x"
    state_class: type = metrics.AverageState

    def get_state(self, x, step=None, mask=None):
        return self.state_class.from_values(x)


@pytest.mark.parametrize(
    ("state_class", "error", "message"),
    [
        (
            metrics.AverageState,
            TypeError,
            r"(?s)is not known: .*log_raw=False.*'losses_raw/a'",
        ),
        (losses.Loss.State, ValueError, "have no `raw_total`. Define `get_values`"),
    ],
)
def test_raw_value_that_is_not_known_is_an_error(state_class, error, message):
    loss = _OwnState(log_raw=True, state_class=state_class)
    with pytest.raises(error, match=message):
        _aux({"a": loss}, _x).compute()
    quiet = dataclasses.replace(loss, log_raw=False)
    assert _aux({"a": quiet}, _x).compute().loss_values["losses/a"] == 1.5


@pytest.mark.usefixtures("training")
def test_run_writes_raw_and_weighted_losses(tmp_path):
    evaluator = kd.evals.Evaluator(run=kd.evals.Final())
    loss = kd.losses.SoftmaxCrossEntropyWithIntLabels(
        logits="preds.logits", labels="batch.label", weight=0.25, log_raw=True
    )
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=2,
        train_losses={"xent": loss},
        evals={"test": evaluator},
    )
    trainer.train()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {r["collection"] for r in records} == {"train", "test"}
    for record in records:
        weighted, raw = record["losses/xent"], record["losses_raw/xent"]
        np.testing.assert_allclose(weighted, raw / 4, rtol=1e-6)
        assert record["losses/total"] == weighted


def test_loss_is_called_inside_jit_and_grad():
    loss = losses.L2(preds="p", targets="t", weight=3.0)

    def value(preds):
        return loss(preds=preds, targets=jnp.zeros(4))

    expected = 3 * np.mean(_x**2)
    np.testing.assert_allclose(value(_x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(value)(_x), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(value)(_x), 3 * 2 * _x / 4, rtol=1e-6)
    with pytest.raises(TypeError, match="not both"):
        loss(context={"p": _x}, preds=_x)
