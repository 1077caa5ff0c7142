"""Few-shot evaluation against scikit-learn's ridge regression."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import linear_model

from examples import digits_data
from kauldron import kd
from kauldron.evals import _ridge
from tests.train import small_run

L2_REGS = (0.1, 100.0, 1e5)
FEATURES = "interms.layers_0.__call__[0]"


def _oracle(train, test, l2):
    """Accuracy of scikit-learn's ridge regression, by the words of the docstring."""
    (x, labels), (x_test, labels_test) = train, test
    mean, std = x.mean(0), x.std(0)
    std = np.where(std == 0, 1, std)

    def whiten(x):
        return np.hstack([(x - mean) / std, np.full((len(x), 1), 100.0)])

    targets = np.where(labels[:, None] == np.arange(labels.max() + 1), 1.0, -1.0)
    ridge = linear_model.Ridge(alpha=l2, fit_intercept=False).fit(whiten(x), targets)
    return np.mean(ridge.predict(whiten(x_test)).argmax(1) == labels_test)


@pytest.mark.parametrize("num_train", [30, 400])  # fewer examples than features; more
def test_accuracies_equal_those_of_scikit_learn(num_train):
    source = digits_data.Digits(split="train")
    images, labels = source._arrays
    x = images.reshape(len(images), -1).astype(np.float64)
    train = x[:num_train], labels[:num_train]
    tests = [(x[500:900], labels[500:900]), (x[900:1300], labels[900:1300])]
    found = _ridge.accuracies(train, tests, num_classes=10, l2_regs=L2_REGS)
    expected = [[_oracle(train, test, l2) for test in tests] for l2 in L2_REGS]
    np.testing.assert_array_equal(found, expected)


def _evaluator(**changes):
    kwargs = {
        "run": kd.evals.Final(),
        "ds_train": _ds(0),
        "ds_val": _ds(1, num_examples=31, batch_size=8),
        "ds_test": _ds(2),
        "metric_prefix": "points",
        "num_classes": 2,
        "num_shots": [1, 5],
        "repr_names": {"pre_logits": FEATURES, "logits": "preds.logits"},
        "l2_regs": L2_REGS,
        "label_name": "label",
        "seed": [0, 1],
    }
    return kd.evals.FewShotEvaluator(**{**kwargs, **changes})


def _ds(seed, num_examples=40, **changes):
    source = small_run.Points(num_examples, seed=seed)
    return small_run.make_ds(training=False, data_source=source, **changes)


def _trainer(workdir, **changes):
    return small_run.make_trainer(workdir, evals={"few": _evaluator(**changes)})


def test_evaluation_equals_a_classifier_fitted_by_hand(tmp_path):
    trainer = _trainer(tmp_path)
    trainer.check()
    trainer.setup.run(trainer)
    state = trainer.init_state()
    evaluator = trainer.evals["few"]
    aux = evaluator.evaluate(state, step=7)

    kernel, bias = (np.asarray(state.params["layers_0"][k]) for k in ("kernel", "bias"))
    data = {}
    for seed, name, num in ((0, "train", 40), (1, "val", 31), (2, "test", 40)):
        x = small_run.Points(num, seed=seed).x
        data[name] = (x @ kernel + bias, (x[:, 0] > 0).astype(int))
    expected = []
    for seed in (0, 1):
        drawn = evaluator._draw(data["train"][1], 5, seed)
        train = data["train"][0][drawn], data["train"][1][drawn]
        on_val = [_oracle(train, data["val"], l2) for l2 in L2_REGS]
        expected.append(_oracle(train, data["test"], L2_REGS[np.argmax(on_val)]))
    [line] = (tmp_path / "metrics.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert set(record) == {"step", "collection"} | {
        f"{group}-{k}shot"
        for group in (
            "metrics/points",
            "z_fewshot_all/points-pre_logits",
            "z_fewshot_all/points-logits",
        )
        for k in (1, 5)
    }
    assert (record["step"], record["collection"]) == (7, "few")
    # f32 features, made in another order: an example on the border may change sides.
    assert record["metrics/points-5shot"] == pytest.approx(np.mean(expected), abs=0.02)
    values = aux.compute().metric_values  # which select the best checkpoint
    assert values["metrics/points-5shot"] == record["metrics/points-5shot"]
    assert values["metrics/points-1shot"] == record["metrics/points-1shot"]


def test_draws_are_balanced_repeatable_and_nested():
    labels = np.array([0, 1] * 10 + [1] * 5)
    draw = _evaluator()._draw
    one, five = draw(labels, 1, 0), draw(labels, 5, 0)
    assert np.bincount(labels[five]).tolist() == [5, 5]
    assert set(one) < set(five)
    assert len(set(five)) == 10
    np.testing.assert_array_equal(five, draw(labels, 5, 0))
    assert set(five) != set(draw(labels, 5, 1))


def test_each_class_has_a_draw_of_its_own():
    """Examples that lie together, such as the views of an object, are not drawn together."""
    labels = np.arange(40) % 2
    draw = _evaluator()._draw
    drawn = [draw(labels, 5, seed).reshape(2, 5) // 2 for seed in range(5)]
    assert all(set(of_first) != set(of_second) for of_first, of_second in drawn)


def test_accuracy_is_the_mean_over_all_seeds():
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    x = {name: rng.normal(size=(40, 4)) + labels[:, None] for name in "abc"}
    features = {
        name: {"x": values, "label": labels}
        for name, values in zip(
            ("ds_train", "ds_val", "ds_test"), x.values(), strict=True
        )
    }

    def accuracy(seed):
        names = {"repr_names": {"x": "preds.x"}, "selected_repr": "x"}
        return _evaluator(seed=seed, **names)._accuracy(features, "x", 1)

    each = [accuracy(seed) for seed in range(4)]
    assert len(set(each)) > 1
    assert accuracy([0, 1, 2, 3]) == pytest.approx(np.mean(each))


class _Known(kd.evals.FewShotEvaluator):
    """Features that tell the classes apart, and some that tell nothing."""

    def compute_features(self, state, ds):
        labels = np.arange(40) % 2
        good = np.where(labels == 1, 1.0, -1.0)[:, None]
        return {"bad": 0 * good, "good": good, "label": labels}


def test_selected_representation_is_the_one_that_is_reported(tmp_path):
    fields = {f: getattr(_evaluator(), f) for f in ("run", "num_shots", "label_name")}
    datasets = {f"ds_{name}": _ds(0) for name in ("train", "val", "test")}
    evaluator = _Known(
        **fields,
        **datasets,
        metric_prefix="known",
        num_classes=2,
        repr_names={"bad": "preds.bad", "good": "preds.good"},
        selected_repr="good",
        l2_regs=(1.0,),
    )
    trainer = small_run.make_trainer(tmp_path, evals={"few": evaluator})
    trainer.setup.run(trainer)
    aux = trainer.evals["few"].evaluate(None, step=0)
    values = aux.compute().metric_values
    assert dict(values) == {"metrics/known-1shot": 1.0, "metrics/known-5shot": 1.0}
    [line] = (tmp_path / "metrics.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["z_fewshot_all/known-good-5shot"] == 1
    assert record["z_fewshot_all/known-bad-5shot"] == 0.5


def test_class_with_just_enough_examples_gives_all_of_them():
    drawn = _evaluator()._draw(np.array([0, 1, 0, 1, 1]), 2, 0)
    assert set(drawn[:2]) == {0, 2}
    assert len(set(drawn)) == 4


def test_regulariser_is_the_first_that_is_best_for_validation_whatever_the_test_says():
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    train, val, test = (
        rng.normal(size=(40, 20)) + labels[:, None] + shift
        for shift in (0, 0, rng.normal(size=20))
    )
    data = {"ds_train": train, "ds_val": val, "ds_test": test}
    features = {name: {"x": x, "label": labels} for name, x in data.items()}
    evaluator = _evaluator(
        repr_names={"x": "preds.x"}, selected_repr="x", l2_regs=L2_REGS, seed=3
    )
    drawn = evaluator._draw(labels, 5, 3)
    few = train[drawn], labels[drawn]
    for num_val in (2, 40):  # of two examples, all strengths are right
        on_val = [_oracle(few, (val[:num_val], labels[:num_val]), l2) for l2 in L2_REGS]
        on_test = [_oracle(few, (test, labels), l2) for l2 in L2_REGS]
        features["ds_val"] = {"x": val[:num_val], "label": labels[:num_val]}
        assert on_test.index(max(on_test)) != on_val.index(max(on_val))
        assert (
            evaluator._accuracy(features, "x", 5) == on_test[on_val.index(max(on_val))]
        )


def test_class_with_too_few_examples_is_named():
    with pytest.raises(ValueError, match="2 examples of class 0: too few"):
        _evaluator()._draw(np.array([0, 0, 1, 1, 1]), 3, 0)


def test_labels_outside_of_the_classes_are_refused():
    for wrong, seen in ((7, "0 to 7"), (2, "0 to 2"), (-1, "-1 to 1")):
        with pytest.raises(ValueError, match=rf"\[0, 2\): got {seen}"):
            _evaluator()._draw(np.array([0, 1, wrong]), 1, 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"repr_names": {"pre_logits": "interms.layer_0.__call__[0]"}},
            ["cfg.evals['few'].repr_names['pre_logits']", FEATURES],
        ),
        ({"label_name": "lable"}, ["cfg.evals['few'].label_name", "'batch.label'"]),
        ({"repr_names": {"pre_logits": "step"}}, ["no row per example"]),
    ],
)
def test_keys_are_checked_before_anything_is_compiled(tmp_path, changes, words):
    with pytest.raises(ValueError, match="does not fit") as e:
        _trainer(tmp_path, **changes).check()
    for word in words:
        assert word in str(e.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selected_repr": "pre_logit"}, "Did you mean 'pre_logits'"),
        ({"num_shots": [0]}, r"`num_shots` needs positive numbers: got \[0\]"),
        ({"l2_regs": []}, "`l2_regs` needs positive numbers"),
        ({"num_classes": 1}, "at least 2: got 1"),
        ({"repr_names": {"pre_logits": "preds", "label": "preds"}}, "called 'label'"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        _evaluator(**changes)
