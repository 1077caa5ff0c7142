"""Random streams, context, measurements: the parts of a step."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from kauldron import kd, metrics, random
from kauldron.step import state_trees
from kauldron.train import auxiliaries
from tests.train import small_run


def test_stream_folds_name_then_step_then_phase():
    streams = kd.train.RngStreams(seed=5)
    key = random.fold_in_str(jax.random.PRNGKey(5), "dropout")
    key = random.fold_in_str(jax.random.fold_in(key, 7), "train")
    np.testing.assert_array_equal(streams.train_rngs(7)["dropout"], key)


def test_default_streams_exist_where_they_are_used():
    streams = kd.train.RngStreams(seed=0)
    assert set(streams.init_rngs()) == {"params", "dropout", "default"}
    assert set(streams.train_rngs(0)) == {"dropout", "default"}
    assert set(streams.eval_rngs(0)) == set()


def test_stream_of_the_user_replaces_a_default():
    streams = kd.train.RngStreams(
        [kd.train.RngStream("dropout", eval=True), kd.train.RngStream("extra")], seed=0
    )
    assert set(streams.eval_rngs(0)) == {"dropout"}
    assert "extra" in streams.train_rngs(0)


def test_adding_a_stream_changes_no_other_stream():
    alone = kd.train.RngStreams(seed=0)
    more = kd.train.RngStreams([kd.train.RngStream("extra")], seed=0)
    np.testing.assert_array_equal(
        alone.train_rngs(3)["dropout"], more.train_rngs(3)["dropout"]
    )


def test_streams_without_a_seed_say_so():
    with pytest.raises(ValueError, match=r"`RngStreams\.seed` is not set"):
        kd.train.RngStreams().init_rngs()


def test_context_holds_everything_under_its_published_name(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    paths = trainer.context_specs.flatten()
    expected = {
        "step": (),
        "batch.x": (16, 3),
        "params.layers_0.kernel": (3, 8),
        "preds.logits": (16, 2),
        "grads.layers_3.kernel": (8, 2),
        "updates.layers_3.bias": (2,),
        "loss_total": (),
    }
    assert {path: paths[path].shape for path in expected} == expected
    interms = trainer.context_specs.interms
    assert interms["layers_0"]["__call__"][0].shape == (16, 8)


def test_step_can_be_used_by_hand(tmp_path):
    trainer = small_run.make_trainer(tmp_path)
    state = trainer.init_state()
    for batch in trainer.train_ds.take(3).device_put(trainer.sharding.batch):
        state, aux = trainer.trainstep.step(state, batch, return_losses=True)
    assert state.step == 3
    values = aux.compute()
    assert set(values.loss_values) == {"losses/xentropy", "losses/total"}
    assert values.metric_values == {}


def test_own_step_is_a_few_lines(tmp_path):
    class Frozen(kd.train.TrainStep):
        def _step(self, state, batch):
            new_state, context = super()._step(state, batch)
            return new_state.replace(params=state.params), context

    trainer = small_run.make_trainer(tmp_path, trainstep=Frozen())
    before = small_run.state_hash(trainer.init_state().params)
    state, _ = trainer.train()
    assert state.step == 10
    assert small_run.state_hash(state.params) == before


def test_checkify_error_of_the_step_is_raised(tmp_path):
    from jax.experimental import checkify

    class Checked(kd.losses.L2):
        def get_values(self, preds, targets):
            checkify.check(preds.sum() > 1e9, "too small")
            return super().get_values(preds, targets)

    trainer = small_run.make_trainer(
        tmp_path,
        train_losses={"l2": Checked(preds="batch.x", targets="batch.x")},
        checkify_error_categories=checkify.user_checks,
    )
    with pytest.raises(checkify.JaxRuntimeError, match="too small"):
        trainer.train()


def _state(value):
    return auxiliaries.AuxiliariesState(
        metric_states={"m": metrics.AverageState.from_values(np.float32(value))}
    )


def test_states_merge_and_none_is_the_identity():
    a, b = _state([1, 2]), _state([6])
    assert (a | b).compute().metric_values["metrics/m"] == 3
    assert (a | None) is a
    assert (None | a) is a


def test_values_of_nested_trees_are_named_by_their_path():
    state = metrics.AverageState.from_values(np.float32([2]))
    values = auxiliaries.AuxiliariesState(
        loss_states={"a": {"b": state}, "c": [state, state]}
    ).compute()
    assert values.loss_values == {
        "losses/a/b": 2,
        "losses/c/0": 2,
        "losses/c/1": 2,
        "losses/total": 6,
    }


def test_failing_metric_is_named():
    import flax.struct

    @flax.struct.dataclass
    class Broken(metrics.AverageState):
        def compute(self):
            raise ZeroDivisionError("oops")

    state = auxiliaries.AuxiliariesState(metric_states={"x": {"y": Broken.empty()}})
    with pytest.raises(ZeroDivisionError) as e:
        state.compute()
    assert e.value.__notes__ == ["While computing 'metrics/x/y'."]


def test_what_has_failed_stays_failed_whatever_it_is_merged_with():
    first, second = ValueError("first"), ValueError("second")
    good = metrics.AverageState(total=np.float32(1), count=np.float32(1))
    failed = [state_trees.FailedState(error=e, parent=None) for e in (first, second)]
    for a, b in [(failed[0], good), (good, failed[0]), failed]:
        merged = state_trees.merge_each({"x": a, "ok": good}, {"x": b, "ok": good})
        failures = []
        values = state_trees.compute("metrics", merged, failures=failures)
        assert [f.error for f in failures] == [first]
        assert values["ok"] == 1


def test_merged_measurements_keep_what_either_has_met():
    import jax.numpy as jnp
    from jax.experimental import checkify

    def check(x):
        checkify.check(x > 0, "not positive")

    checked = checkify.checkify(check)
    (fine, _), (bad, _) = checked(jnp.float32(1)), checked(jnp.float32(-1))
    states = [
        kd.train.AuxiliariesState(error=error, is_halted=jnp.bool_(is_halted))
        for error, is_halted in ((fine, False), (bad, False), (fine, True))
    ]
    merged = states[0] | states[1] | states[2] | None
    assert "not positive" in merged.error.get() and bool(merged.is_halted)
    alone = kd.train.AuxiliariesState() | states[0]
    assert alone.error.get() is None and not bool(alone.is_halted)
