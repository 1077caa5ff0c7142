"""Rollouts: answers by the model that is trained, and runs that continue exactly."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest

from kauldron import kd
from tests import compilations
from tests.lm import small_model
from tests.rl import small_run


def _state(trainer_or_model, params, **collections):
    return kd.train.TrainState(step=0, params=params, collections=collections)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of four steps, which draws for two steps at once, and what it has learnt."""
    workdir = tmp_path_factory.mktemp("run")
    trainer = small_run.make_trainer(workdir, train_ds=small_run.make_ds(sync_every=2))
    state, _ = trainer.train()
    records = [
        json.loads(line)
        for line in (workdir / "metrics.jsonl").read_text().splitlines()
    ]
    return trainer, small_run.numbers(state), records


@pytest.fixture(scope="module")
def rollout():
    """A batch by the untrained model, with its full parameters."""
    model = small_model.model()
    ds = small_run.make_ds(model=model, seed=7)
    batches = iter(ds)
    batches.follow(lambda: _state(model, small_model.params(model)))
    batch = next(batches)
    batches.close()
    return model, ds, batch


def test_a_batch_is_as_its_spec_says(rollout):
    _, ds, batch = rollout
    spec = jax.tree.map(lambda x: (x.shape, x.dtype), ds.element_spec)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == spec


def test_a_row_is_the_prompt_and_an_answer_of_which_the_answer_is_learnt(rollout):
    _, ds, batch = rollout
    prompts = [small_model.tokenizer().encode(p["prompt"]) for p in small_run.PROMPTS]
    for i in range(ds.batch_size):
        length = int(batch["segment_ids"][i].sum())
        num_answer = int(batch["num_tokens"][i])
        prompt = batch["tokens"][i, : length - num_answer].tolist()
        assert prompt in [p.tolist() for p in prompts]
        expected = np.zeros(ds.length)
        expected[length - num_answer - 1 : length - 1] = 1
        np.testing.assert_array_equal(batch["loss_mask"][i], expected)
        shifted = batch["tokens"][i, 1:length]
        np.testing.assert_array_equal(batch["targets"][i, : length - 1], shifted)
        np.testing.assert_array_equal(batch["positions"][i, :length], range(length))
    starts = [row.tobytes() for row in batch["tokens"][:, :2]]
    assert len(set(starts[:4])) == len(set(starts[4:])) == 1  # rows of a group


def test_old_logps_are_those_of_the_model_for_the_tokens_drawn(rollout):
    model, _, batch = rollout
    outputs = jax.jit(model.apply)(
        {"params": small_model.params(model)},
        batch["tokens"],
        batch["positions"],
        batch["segment_ids"],
    )
    logps = jax.nn.log_softmax(outputs["logits"])
    found = np.take_along_axis(np.asarray(logps), batch["targets"][..., None], -1)[
        ..., 0
    ]
    mask = batch["loss_mask"] > 0
    np.testing.assert_allclose(batch["old_logps"][mask], found[mask], atol=1e-4)
    assert not batch["old_logps"][~mask].any()


def test_answers_are_drawn_in_the_precision_of_the_training():
    model = small_model.model()
    params = small_model.params(model)
    precision = kd.train.Precision.from_name("bf16")
    ds = small_run.make_ds(model=model, seed=7, precision=precision)
    batches = iter(ds)
    batches.follow(lambda: _state(model, params))
    batch = next(batches)
    batches.close()

    def logps(params):
        args = [batch[name] for name in ("tokens", "positions", "segment_ids")]
        logits = jax.jit(model.apply)({"params": params}, *args)["logits"]
        logps = jax.nn.log_softmax(logits)
        targets = batch["targets"][..., None]
        return np.take_along_axis(np.asarray(logps), targets, -1)[..., 0]

    def distance(found):
        return np.abs(batch["old_logps"] - found)[batch["loss_mask"] > 0].mean()

    with precision.applied():
        in_bf16 = logps(precision.cast_params(params, use="compute"))
    assert distance(in_bf16) < 0.3 * distance(logps(params))


def test_the_precision_of_the_trainer_is_that_of_its_rollouts(tmp_path):
    trainer = small_run.make_trainer(tmp_path, precision="bf16")
    assert trainer.train_ds.precision == trainer.precision


def test_advantages_are_of_the_group_and_stand_where_tokens_are_learnt(rollout):
    _, _, batch = rollout
    total = batch["rewards"]["vowels"] + 0.5 * batch["rewards"]["short"]
    np.testing.assert_allclose(batch["rewards"]["total"], total, rtol=1e-6)
    groups = total.reshape(2, 4)
    centred = groups - groups.mean(axis=1, keepdims=True)
    expected = (centred / (groups.std(axis=1, keepdims=True) + 1e-4)).reshape(-1, 1)
    np.testing.assert_allclose(
        batch["advantages"], expected * batch["loss_mask"], atol=1e-5
    )


def test_the_sampling_policy_is_the_one_that_is_trained_where_each_is_drawn_for(run):
    _, _, records = run
    by_step = {r["step"]: r for r in records if r["collection"] == "train"}
    kl = [by_step[step]["metrics/drift/kl"] for step in range(4)]
    # Drawn for two steps at once: at every second step the policy is one update on.
    assert max(kl[0], kl[2]) < 1e-8 < min(kl[1], kl[3])


def test_each_reward_length_and_ends_are_logged_by_name(run):
    _, _, records = run
    first = next(r for r in records if r["collection"] == "train")
    rollout = {
        name.removeprefix("metrics/rollout/"): value
        for name, value in first.items()
        if name.startswith("metrics/rollout/")
    }
    assert sorted(rollout) == ["cut", "num_tokens", "short", "total", "vowels"]
    total = rollout["vowels"] + 0.5 * rollout["short"]
    assert rollout["total"] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("step", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_continues_with_the_answers_it_had_drawn(run, step):
    """At step 1 half of a rollout is not used yet, at step 2 all of it is."""
    trainer, expected, _ = run
    for later in range(step + 1, 5):
        shutil.rmtree(trainer.workdir / "checkpoints" / f"ckpt_{later}")
    state, _ = trainer.train()
    for found, wanted in zip(small_run.numbers(state), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_second_rollout_compiles_nothing():
    model = kd.lm.WithReference(policy=small_run.lora())
    ds = small_run.make_ds(model=model, seed=7)
    row = {key: ds.element_spec[key] for key in ("tokens", "targets")}
    row = jax.tree.map(lambda x: np.zeros(x.shape[1:], x.dtype), row)
    params = small_model.params(small_model.model())
    variables = jax.jit(model.init)(jax.random.key(0), row)
    policy = {"base": {"policy": params}}
    batches = iter(ds)
    batches.follow(lambda: _state(model, variables["params"], **policy))
    first = next(batches)
    with compilations.counted() as compiled:
        second = next(batches)
    batches.close()
    assert compiled == []
    assert not np.array_equal(first["tokens"], second["tokens"])


def test_pairs_are_the_best_and_the_worst_answer(rollout):
    _, _, of_answers = rollout
    model = small_model.model()
    ds = small_run.make_ds(model=model, seed=7, kind="pairs", batch_size=2)
    batches = iter(ds)
    batches.follow(lambda: _state(model, small_model.params(model)))
    batch = next(batches)
    spec = jax.tree.map(lambda x: (x.shape, x.dtype), ds.element_spec)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == spec
    # The same prompts and seeds, so the same answers.
    rewards = of_answers["rewards"]["total"].reshape(2, 4)
    np.testing.assert_array_equal(batch["rewards"]["total"], rewards)
    for i in range(2):
        for side, index in (("chosen", rewards[i].argmax()), ("rejected", None)):
            index = rewards[i].argmin() if index is None else index
            row = of_answers["tokens"].reshape(2, 4, -1)[i, index]
            np.testing.assert_array_equal(batch[side]["tokens"][i], row)
    np.testing.assert_array_equal(batch["pair_mask"], np.ptp(rewards, axis=1) > 0)


def test_prompts_come_once_in_an_epoch_in_an_order_of_the_seed():
    ds = small_run.make_ds(batch_size=4, num_epochs=2, seed=1)
    assert len(ds) == 6
    iterator = iter(ds)
    texts = [iterator._element(i)["prompt"] for i in range(6)]
    everything = sorted(p["prompt"] for p in small_run.PROMPTS)
    assert sorted(texts[:3]) == sorted(texts[3:]) == everything


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 6}, "multiple of the answers to a prompt, group_size=4: got 6"),
        ({"batch_size": None}, "multiple of the answers"),
        (
            {"group_size": 1},
            "`group_size` of RolloutPipeline must be at least 2: got 1",
        ),
        ({"length": 6}, "`length` of RolloutPipeline must be at least 7"),
        ({"kind": "pair"}, "Did you mean 'pairs'"),
        ({"prompts": []}, "is empty"),
        ({"prompt_key": "question"}, "finds no 'question' in its elements"),
        ({"rewards": {}}, "must be a dict of rewards"),
    ],
)
def test_what_does_not_fit_together_is_told_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        small_run.make_ds(**changes)


def test_a_rollout_without_a_run_says_whose_answers_it_gives():
    with pytest.raises(kd.data.DataError, match="it is a `train_ds`"):
        next(iter(small_run.make_ds(seed=0, model=small_model.model())))


def test_a_prompt_that_leaves_no_room_is_told_with_its_text():
    model = small_model.model()
    long = [{"prompt": "The quick brown fox " * 4}]
    ds = small_run.make_ds(prompts=long, seed=0, model=model)
    batches = iter(ds)
    batches.follow(lambda: _state(model, small_model.params(model)))
    with pytest.raises(kd.data.DataError, match=r"(?s)room for 1 to 10.*brown fox"):
        next(batches)


def test_a_position_of_other_prompts_or_seeds_is_refused():
    position = iter(small_run.make_ds(seed=0)).get_state()
    with pytest.raises(kd.data.IteratorStateError, match="seed=0, the pipeline has"):
        iter(small_run.make_ds(seed=1)).set_state(position)
    other = small_run.make_ds(seed=0, prompts=small_run.PROMPTS[:2])
    with pytest.raises(kd.data.IteratorStateError, match="with 3 prompts, there are 2"):
        iter(other).set_state(position)


def test_batches_of_the_trained_model_are_not_loaded_ahead():
    with pytest.raises(
        kd.data.DataError, match=r"`.prefetch\(\)` loads batches before"
    ):
        iter(small_run.make_ds(seed=0).prefetch()).follow(lambda: None)
