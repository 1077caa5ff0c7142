"""What somebody gets wrong on the first day: refused before the run, with what to write."""

from __future__ import annotations

import dataclasses

import flax.struct
import optax
import pytest
from jax.experimental import checkify

from kauldron import kd
from tests.train import small_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean(kd.metrics.Metric):
    logits: kd.kontext.Key = "preds.logits"

    @flax.struct.dataclass
    class State(kd.metrics.AverageState):
        pass

    def get_state(self, logits):
        return logits.mean()


def test_a_metric_that_returns_a_value_is_refused_before_the_run(tmp_path):
    trainer = small_run.make_trainer(tmp_path, train_metrics={"mean": Mean()})
    with pytest.raises(kd.errors.UserError, match=r"`Mean` must measure with states"):
        trainer.train()
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_metric_that_returns_nothing_is_refused():
    class Nothing(Mean):
        def get_state(self, logits):
            del logits

    with pytest.raises(kd.metrics.NotAStateError, match="got NoneType"):
        Nothing()(logits=1.0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "train_losses",
            [kd.losses.L2(preds="a", targets="b")],
            "`train_losses` must be",
        ),
        (
            "train_losses",
            dict.fromkeys(("l2", "total"), kd.losses.L2(preds="a", targets="b")),
            "`train_losses\\['total'\\]` has the name of the sum",
        ),
        (
            "hooks",
            [kd.train.Hook()],
            "`hooks` must be a dict, as its parts .* got list",
        ),
        ("num_train_steps", "6", r"must be a whole number: got '6' \(str\)"),
        ("num_train_steps", 6.0, r"must be a whole number: got 6.0"),
        ("log_metrics_every", True, r"must be a whole number: got True"),
        ("seed", "a", r"`seed` must be a whole number"),
        ("optimizer", 1e-3, r"must be an optimizer of optax, .*: got 0.001"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(tmp_path, field, value, words):
    with pytest.raises(kd.train.TrainerError, match=words):
        small_run.make_trainer(tmp_path, **{field: value})


_ANYTHING = ("raw_cfg", "xm_job", "aux")
_FIELDS = [x.name for x in dataclasses.fields(kd.train.Trainer)]


@pytest.mark.parametrize("field", [x for x in _FIELDS if x not in _ANYTHING])
@pytest.mark.parametrize("value", [True, object()])
def test_nothing_of_another_kind_gets_past_the_check(tmp_path, field, value):
    errors = (kd.errors.UserError, TypeError, ValueError)
    trainer = small_run.make_trainer(tmp_path)
    with pytest.raises(errors, match=f"`(cfg\\.)?{field}` must"):
        trainer.replace(**{field: value}).check()


@pytest.mark.parametrize("field", ["train_losses", "train_metrics", "train_summaries"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (3, r"must be a loss, metric or summary, .*: got 3 \(int\)"),
        (kd.metrics.Accuracy, r"got the class `Accuracy`. Call it: `Accuracy\(...\)`"),
    ],
)
def test_what_cannot_measure_is_named(tmp_path, field, value, words):
    trainer = small_run.make_trainer(tmp_path, **{field: {"a": {"b": value}}})
    with pytest.raises(
        kd.train.CheckError, match=rf"cfg.{field}\['a'\]\['b'\]: {words}"
    ):
        trainer.check()


def test_losses_that_are_all_none_are_no_losses(tmp_path):
    trainer = small_run.make_trainer(tmp_path, train_losses={"a": None})
    with pytest.raises(kd.train.TrainerError, match="There is no loss to train on"):
        trainer.check()


def test_an_evaluator_that_cannot_measure_is_named(tmp_path):
    wrong = kd.evals.Evaluator(
        run=kd.evals.Final(), ds=small_run.make_ds(training=False), metrics={"a": 3}
    )
    trainer = small_run.make_trainer(tmp_path, evals={"test": wrong})
    with pytest.raises(
        kd.train.CheckError, match=r"evals\['test'\].metrics\['a'\]: must"
    ):
        trainer.check()


@pytest.mark.parametrize(
    "field",
    [
        "losses",
        "metrics",
        "summaries",
        "init_transform",
        "checkify_error_categories",
        "num_batches",
    ],
)
@pytest.mark.parametrize("value", [True, "x", object()])
def test_a_field_of_an_evaluator_of_another_kind_is_named(field, value):
    with pytest.raises(TypeError, match=f"`{field}` must be"):
        kd.evals.Evaluator(run=kd.evals.Final(), **{field: value})


@pytest.mark.parametrize("kind", [list, tuple, set])
def test_categories_of_errors_come_in_any_collection(tmp_path, kind):
    categories = kind(checkify.user_checks)
    evaluator = kd.evals.Evaluator(
        run=kd.evals.Final(),
        ds=small_run.make_ds(training=False),
        checkify_error_categories=categories,
    )
    trainer = small_run.make_trainer(
        tmp_path, checkify_error_categories=categories, evals={"test": evaluator}
    )
    trainer.check()
    hash(trainer.checkify_error_categories)
    assert trainer.checkify_error_categories == checkify.user_checks
    assert trainer.evals["test"].checkify_error_categories == checkify.user_checks


def test_none_is_a_group_of_an_evaluator_without_parts(tmp_path):
    names = ("metrics", "summaries", "init_transform")
    ds = small_run.make_ds(training=False)
    evaluator = kd.evals.Evaluator(run=kd.evals.Final(), ds=ds, **dict.fromkeys(names))
    trainer = small_run.make_trainer(tmp_path, evals={"test": evaluator})
    trainer.check()
    evaluator = trainer.evals["test"]
    assert not evaluator.metrics and not evaluator.summaries
    evaluator.evaluate(trainer.init_state(), 0)


@pytest.mark.parametrize(
    "field", ["seed", "grad_accum_steps", "log_metrics_every", "log_summaries_every"]
)
def test_a_number_that_is_needed_cannot_be_left_out(tmp_path, field):
    with pytest.raises(
        kd.train.TrainerError, match=f"`{field}` must be a whole number"
    ):
        small_run.make_trainer(tmp_path, **{field: None})


def test_none_is_a_group_without_parts(tmp_path):
    names = ("train_metrics", "train_summaries", "schedules", "hooks", "evals")
    trainer = small_run.make_trainer(tmp_path, **dict.fromkeys(names))
    assert [dict(getattr(trainer, name)) for name in names] == [{}] * 5
    trainer.check()


@pytest.mark.parametrize(
    ("method", "result", "words"),
    [
        (
            "_step",
            "state_batch",
            r"Wrong\._step` or `apply_grads` must return the next state",
        ),
        ("compute_grads", None, r"Wrong\.compute_grads` must return gradients and"),
        (
            "apply_grads",
            "state",
            r"Wrong\._step` or `apply_grads` must return the next state",
        ),
    ],
)
def test_a_step_that_returns_something_else_is_refused(tmp_path, method, result, words):
    def wrong(self, *args):
        return args if result == "state_batch" else args[0] if result else None

    step = type("Wrong", (kd.train.TrainStep,), {method: wrong})
    step = dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(step)
    trainer = small_run.make_trainer(tmp_path, trainstep=step())
    with pytest.raises(kd.errors.UserError, match=words):
        trainer.check()


def test_an_evaluator_whose_check_returns_a_text_is_named(tmp_path):
    class Odd(kd.evals.Evaluator):
        def check(self, run, state, *, field):
            return "wrong"

    odd = Odd(run=kd.evals.Final(), ds=small_run.make_ds(training=False))
    trainer = small_run.make_trainer(tmp_path, evals={"odd": odd})
    with pytest.raises(
        kd.errors.UserError, match=r"evals\['odd'\].*must return a list"
    ):
        trainer.check()


def test_a_class_that_is_no_dataclass_yet_is_told_what_is_missing():
    class Undecorated(kd.metrics.Metric):
        preds: kd.kontext.Key = kd.kontext.REQUIRED

    with pytest.raises(TypeError, match=r"annotated in the class, .*dataclass\("):
        Undecorated(preds="preds.x")


def test_right_values_pass(tmp_path):
    import numpy as np

    small_run.make_trainer(
        tmp_path,
        num_train_steps=np.int64(2),
        optimizer=optax.sgd(0.1),
        seed=np.int32(3),
    ).train()
