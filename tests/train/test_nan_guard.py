"""A value that is not finite: the step changes nothing, the tensor is named."""

from __future__ import annotations

import dataclasses
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.runs import replay as replay_lib
from kauldron.step import _loss_scale, finiteness
from kauldron.train import nan_guard
from tests.train import small_run

NUM_STEPS = 8
BAD_STEP = 4


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Numbered(kd.data.Pipeline):
    """Random batches; those of the bad steps hold a number that is too small."""

    bad: tuple[int, ...] = (BAD_STEP,)
    batch_size: int = 8
    is_endless = True

    @property
    def element_spec(self):
        return {"x": jax.ShapeDtypeStruct((8, 3), jnp.float32)}

    def __iter__(self):
        return _Iterator(self.bad)


class _Iterator:
    def __init__(self, bad):
        self._bad, self._step = bad, 0

    def __next__(self):
        step, self._step = self._step, self._step + 1
        x = np.random.default_rng(step).normal(size=(8, 3)).astype(np.float32)
        if step in self._bad:
            x[2, 1] = -1e9
        return {"x": x}

    def get_state(self):
        return {"step": self._step}

    def set_state(self, state):
        self._step = state["step"]

    def close(self):
        pass


class Logarithm(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.log(x + 1e3)


class Net(nn.Module):
    """Takes the logarithm of what may be negative, then goes on."""

    inputs: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, inputs):
        # The names are not in the order of the calls.
        x = Logarithm(name="zz")(inputs)
        y = kd.nn.Dropout(0.1)(nn.Dense(2, name="aa")(x))
        return {"y": y, "zeros": jnp.zeros_like(y)}


def make(workdir, policy=None, *, bad=(BAD_STEP,), max_events=10, **changes):
    kwargs = {
        "train_ds": Numbered(bad=bad),
        "eval_ds": None,
        "model": Net(),
        "num_train_steps": NUM_STEPS,
        "train_losses": {
            "square": kd.losses.L2(preds="preds.y", targets="preds.zeros")
        },
        "train_metrics": {},
        "log_metrics_every": 1,
    }
    if policy is not None:
        guard = kd.train.NanGuard(policy=policy, max_events=max_events)
        kwargs["nan_guard"] = guard
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


def by_hand(trainer, *, skip=()):
    """The same steps without a guard; those in `skip` only count."""
    state = trainer.init_state()
    for step, batch in zip(range(NUM_STEPS), trainer.train_ds, strict=False):
        if step in skip:
            state = state.replace(step=state.step + 1)
            continue
        batch = kd.sharding.device_put(batch, kd.sharding.FIRST_DIM)
        state, _ = trainer.trainstep.step(state, batch, return_losses=True)
    return state


@pytest.fixture(scope="module")
def skipped(tmp_path_factory):
    """A run that skips two bad steps, one right after the other."""
    workdir = tmp_path_factory.mktemp("skipped")
    trainer = make(
        workdir,
        "skip",
        bad=(4, 5),
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=6),
    )
    state, _ = trainer.train()
    return trainer, state


def test_skipped_step_counts_and_changes_nothing_else(skipped):
    trainer, state = skipped
    assert state.step == NUM_STEPS
    expected = by_hand(trainer, skip=(4, 5))
    jax.tree.map(  # another program: a few units in the last place
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (state.params, state.opt_state),
        (expected.params, expected.opt_state),
    )


def test_every_step_is_logged_once_also_around_a_skipped_one(skipped):
    trainer, _ = skipped
    records = small_run.records(trainer.workdir, "train")
    assert [r["step"] for r in records] == list(range(NUM_STEPS))
    is_nan = [r["losses/total"] in (None, "NaN") for r in records]
    assert [i for i, nan in enumerate(is_nan) if nan] == [4, 5]


_FP16 = {"backoff_factor": 2.0**-32, "initial": 2.0**60}


def _fp16(**changes):
    return kd.train.Precision(
        compute="float16", loss_scale=kd.train.DynamicLossScale(**changes)
    )


def test_overflow_that_a_loss_scale_skips_is_no_event(tmp_path):
    trainer = make(tmp_path, "stop", bad=(), precision=_fp16(**_FP16))
    state, _ = trainer.train()
    assert state.step == NUM_STEPS
    assert 1 <= state.opt_state.num_skipped < NUM_STEPS
    assert not list(tmp_path.glob("nan_*"))


def test_true_nan_is_an_event_also_with_a_loss_scale(tmp_path):
    trainer = make(tmp_path, "stop", precision=_fp16(initial=1.0))
    with pytest.raises(nan_guard.NonfiniteError, match=f"Step {BAD_STEP}: "):
        trainer.train()


@pytest.mark.parametrize(
    ("scale", "num_skipped", "loss", "is_fine"),
    [
        (2.0**15, 1, 0.5, True),
        (2.0**15, 1, np.nan, False),
        (2.0**15, 0, 0.5, False),  # nothing was skipped
        (0.5, 1, 0.5, False),  # the scale has shrunk, and the gradient is NaN still
    ],
)
def test_gradient_that_is_not_finite_counts_unless_its_scale_explains_it(
    scale, num_skipped, loss, is_fine
):
    def opt_state(num_skipped):
        zero = jnp.int32(0)
        return _loss_scale.LossScaleState(
            jnp.float32(scale), zero, jnp.int32(num_skipped), inner=()
        )

    context = kd.train.Context(
        step=jnp.int32(0),
        batch={},
        opt_state=opt_state(0),
        loss_total=jnp.float32(loss),
        grads={"w": jnp.float32(np.nan)},
    )
    after = kd.train.TrainState(step=jnp.int32(1), opt_state=opt_state(num_skipped))
    assert bool(finiteness.is_finite_step(context, after)) is is_fine


def test_replay_repeats_the_step_and_names_module_and_source_line(skipped):
    trainer, _ = skipped
    assert replay_lib.saved_steps(trainer.workdir) == [4, 5]
    result = replay_lib.replay(trainer, step=4)
    first = result.found[0]
    # The module that made it, although another comes before it in the alphabet.
    assert first.key == "interms.zz.__call__[0]"
    assert (first.num_nan, first.num_inf, first.spec) == (1, 0, "f32[8 3]")
    assert "loss_total" in [f.key for f in result.found]
    assert "log" in result.origin
    assert "test_nan_guard.py" in result.origin
    with pytest.raises(ValueError, match=r"step 3 is not saved.*found \[4, 5\]"):
        replay_lib.replay(trainer, step=3)


def test_stop_names_the_tensor_and_keeps_the_state_before_the_step(tmp_path):
    trainer = make(tmp_path, "stop")
    with pytest.raises(
        kd.train.NonfiniteError,
        match=r"(?s)Step 4: .* is interms\.zz\.__call__\[0\] f32\[8 3\]: 1 NaN .*"
        r"kauldron run replay --workdir=.* --step=4",
    ):
        trainer.train()
    saved = replay_lib._restore(trainer, 4)
    assert saved.train_state.step == 4
    assert saved.batch["x"][2, 1] == -1e9


def test_step_that_meets_a_nan_in_a_second_run_is_the_one_that_is_replayed(tmp_path):
    for seed in (1, 2):
        trainer = make(tmp_path, "stop", bad=(0,), seed=seed)
        with pytest.raises(kd.train.NonfiniteError, match="Step 0"):
            trainer.train()
        saved = replay_lib._restore(trainer, 0).train_state.params
        jax.tree.map(np.testing.assert_array_equal, saved, trainer.init_state().params)


def test_roll_back_takes_the_newest_checkpoint_and_goes_on_with_the_next_batch(
    tmp_path, capfd
):
    seen = {}

    class Spy(kd.evals.EvaluatorBase):
        def evaluate(self, state, step):
            seen[step] = jax.device_get(state)

    trainer = make(
        tmp_path,
        "roll_back",
        bad=(7,),
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=5),
        evals={"spy": Spy(run=kd.evals.EveryNSteps(1))},
    )
    state, _ = trainer.train()
    assert state.step == NUM_STEPS
    jax.tree.map(np.testing.assert_array_equal, state.params, seen[5].params)
    said = capfd.readouterr().err
    assert "Warning: Step 7: the first value that is not finite is " in said
    assert "Going on with the parameters of step 5." in said
    assert not np.array_equal(
        seen[7].params["aa"]["kernel"], seen[5].params["aa"]["kernel"]
    )


def test_roll_back_without_checkpoints_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"'roll_back'.*needs checkpoints"):
        make(tmp_path, "roll_back").check()


def test_run_that_meets_too_many_fails(tmp_path):
    with pytest.raises(kd.train.NonfiniteError, match="Step 2"):
        make(tmp_path, "skip", bad=(0, 1, 2, 3), max_events=2).train()


def test_impossible_guards_are_refused():
    with pytest.raises(ValueError, match=r"got 'skipp'\. Did you mean 'skip'"):
        kd.train.NanGuard(policy="skipp")
    with pytest.raises(ValueError, match=r"`NanGuard\.max_events` must be at least 1"):
        kd.train.NanGuard(max_events=0)


def test_without_a_guard_a_loss_that_is_not_finite_is_told_once(tmp_path, capfd):
    make(tmp_path).train()
    err = capfd.readouterr().err
    assert err.count("the loss is nan at step 4") == 1
    assert "cfg.nan_guard = kd.train.NanGuard()" in err


@pytest.mark.parametrize("by_signal", [False, True])
def test_nothing_is_saved_behind_a_step_that_the_guard_has_not_passed(
    tmp_path, by_signal
):
    class Signals(kd.train.Hook):
        def after_step(self, run, *, step, state, aux):
            if step == BAD_STEP and by_signal:
                signal.raise_signal(signal.SIGTERM)

    trainer = make(
        tmp_path,
        "stop",
        hooks={"signals": Signals()},
        checkpointer=kd.ckpts.Checkpointer(
            save_interval_steps=100 if by_signal else BAD_STEP + 1
        ),
    )
    # Either is raised: that it was interrupted is no excuse.
    with pytest.raises((kd.train.NonfiniteError, kd.train.TrainingInterrupted)) as e:
        trainer.train()
    assert str(e.value).startswith(f"Step {BAD_STEP}: ")
    assert list(trainer.checkpointer.all_steps) == [0]


def test_state_that_cannot_be_kept_for_a_replay_is_told_and_the_run_goes_on(
    tmp_path, capfd
):
    (tmp_path / "nan_4").write_text("in the way")
    state, _ = make(tmp_path, "skip").train()
    assert state.step == NUM_STEPS
    assert "The state and the batch could not be saved (" in capfd.readouterr().err


def test_roll_back_before_there_is_a_checkpoint_fails_and_says_so(tmp_path):
    checkpointer = kd.ckpts.Checkpointer(
        save_interval_steps=5, never_save_step_zero=True
    )
    trainer = make(tmp_path, "roll_back", bad=(1,), checkpointer=checkpointer)
    with pytest.raises(
        kd.train.NonfiniteError, match=r"Step 1: .* no checkpoint yet to go back to"
    ):
        trainer.train()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "Step 4 met a value that is not finite, but not when it was repeated: "),
        ("a", "Step 4: the first value that is not finite is a f32[2]: 1 NaN."),
        ("abc", " is a f32[2]: 1 NaN (2 more follow from there on)."),
    ],
)
def test_first_tensor_that_is_not_finite_is_named_and_the_others_are_counted(
    keys, expected
):
    found = [finiteness.Nonfinite(key, 1, 0, "f32[2]") for key in keys]
    assert expected in nan_guard._describe(4, found)
