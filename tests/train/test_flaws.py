"""What fails in a run costs only itself, is told, and shows in the exit code."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import signal
import time
import types

import flax.struct
import numpy as np
import optax
import pytest

from kauldron import kd
from kauldron.cli import command_runner
from kauldron.recording import loss_watch
from kauldron.workdir import run_status
from tests.train import broken, small_run

BROKEN = pathlib.Path(broken.__file__)


def _line_of(text):
    [number] = [
        i for i, line in enumerate(BROKEN.read_text().splitlines(), 1) if text in line
    ]
    return f"broken.py:{number}"


def _train(trainer, *flags):
    """The exit code of a command that trains."""
    return command_runner.run(trainer.train, argv=["kauldron train", *flags])


def _last_line(err):
    return err.strip().splitlines()[-1]


class _Unlabelled(small_run.Points):
    """As the points, with a `kind` that is no class."""

    def __getitem__(self, index):
        return {**super().__getitem__(index), "kind": np.array([7], np.int32)}


_KEYS = {"logits": "preds.logits", "labels": "batch.kind"}
_ACCURACY = {"x": kd.metrics.Accuracy(**_KEYS)}
_CONFUSION = {"x": kd.summaries.ConfusionMatrix(**_KEYS)}


def _evaluating(**measured):
    nothing = {"losses": {}, "metrics": {}, "summaries": {}}
    run = kd.evals.EveryNSteps(1)
    return {"test": kd.evals.Evaluator(run=run, **{**nothing, **measured})}


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("cfg.train_metrics['x']", {"train_metrics": _ACCURACY}),
        ("cfg.train_summaries['x']", {"train_summaries": _CONFUSION}),
        (
            "cfg.evals['test'].metrics['x']",
            {"evals": _evaluating(metrics=_ACCURACY)},
        ),
        (
            "cfg.evals['test'].summaries['x']",
            {"evals": _evaluating(summaries=_CONFUSION)},
        ),
    ],
)
@pytest.mark.parametrize("flag", ["--nodebug", "--debug"])
def test_label_that_is_no_class_is_told_with_a_remedy_and_a_traceback_only_if_debugging(
    tmp_path, capfd, where, changes, flag
):
    ds = small_run.make_ds(data_source=_Unlabelled())
    trainer = small_run.make_trainer(tmp_path, train_ds=ds, num_train_steps=1)
    trainer = trainer.replace(
        eval_ds=small_run.make_ds(data_source=_Unlabelled(), training=False),
        train_metrics={},
        log_summaries_every=1,
    )
    assert _train(trainer.replace(**changes), flag) == command_runner.EXIT_FLAWED
    err = capfd.readouterr().err
    assert f"Warning: {where} failed" in err
    assert "labels of `labels` (key 'batch.kind') must be in [0, 2): got 7." in err
    assert "Correct them" in err
    assert ("Traceback" in err) == (flag == "--debug")


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """A run where one of each kind fails, next to others that don't."""
    workdir = tmp_path_factory.mktemp("flawed")
    good = small_run.make_trainer(workdir)
    trainer = good.replace(
        train_metrics={
            "broken": broken.Metric(fails_in="compute"),
            **good.train_metrics,
            "nested": {"merge": broken.Metric(fails_in="merge")},
            "text": broken.Metric(fails_in="text"),
            "list": [broken.Metric(fails_in="finalize"), good.train_metrics.accuracy],
        },
        schedules={"bad": lambda step: 1 / 0, "good": lambda step: step / 2},
        hooks={"teller": broken.Hook()},
        evals={"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(10))},
    )
    with pytest.MonkeyPatch.context() as patch:
        told = []
        patch.setattr("kauldron._base.console._print", told.append)
        code = _train(trainer)
    return types.SimpleNamespace(
        workdir=workdir, trainer=trainer, told=told, code=code, err="\n".join(told)
    )


def test_what_works_is_written_at_every_step_beside_what_fails(flawed):
    lines = small_run.records(flawed.workdir, "train")
    assert [line["step"] for line in lines] == [0, 2, 4, 6, 8]
    for line in lines:
        assert set(line) == {
            *("step", "collection", "losses/xentropy", "losses/total"),
            *("metrics/accuracy", "metrics/nested/merge", "metrics/list/1"),
            *("schedules/good", "schedules/learning_rate"),
        }
        assert line["metrics/list/1"] == line["metrics/accuracy"]
        assert line["schedules/good"] == line["step"] / 2
    evaluated = small_run.records(flawed.workdir, "test")
    assert [line["step"] for line in evaluated] == [0, 10]
    for line in evaluated:
        # Several batches: here `merge` fails, too.
        assert set(line) == {
            *("step", "collection", "losses/xentropy", "losses/total"),
            *("metrics/accuracy", "metrics/list/1"),
        }
    # Hooks are given what there is.
    for names in flawed.trainer.hooks["teller"].measured:
        assert {"accuracy", "xentropy", "total"} <= names
        assert not names & {"broken", "text"}


@pytest.mark.parametrize(
    ("where", "error", "line"),
    [
        ("cfg.train_metrics['broken']", "ZeroDivisionError", "a bug in compute"),
        (
            "cfg.evals['test'].metrics['broken']",
            "ZeroDivisionError",
            "a bug in compute",
        ),
        (
            "cfg.evals['test'].metrics['nested']['merge']",
            "LookupError",
            "a bug in merge",
        ),
        ("cfg.train_metrics['list'][0]", "LookupError", "a bug in finalize"),
        ("cfg.schedules['bad']", "ZeroDivisionError", None),
        ("`on_log` of cfg.hooks['teller']", "RuntimeError", "no connection"),
    ],
)
def test_what_fails_is_told_once_with_its_place_and_counted(flawed, where, error, line):
    [warning] = [t for t in flawed.told if t.startswith(f"Warning: {where} failed")]
    assert f"\n{error}: " in warning
    if line is not None:
        assert _line_of(line) in warning
    num = 2 if "evals" in where else 5
    assert f"{where} failed {num} times ({error}: " in _last_line(flawed.err)


def test_text_as_a_metric_is_told_without_a_traceback(flawed):
    where = "cfg.train_metrics['text']"
    [warning] = [t for t in flawed.told if t.startswith(f"Warning: {where} failed")]
    assert "\n'metrics' is no number: got str" in warning
    assert "something to look at is a summary." in warning
    assert "Traceback" not in warning
    assert f"{where} failed 5 times (NotANumberError: " in _last_line(flawed.err)


def test_last_line_status_and_exit_code_say_that_not_all_went_well(flawed):
    assert flawed.code == 3
    last = _last_line(flawed.err)
    assert last.startswith(
        f"Finished: {flawed.workdir} is at step 10. Not all went well"
    )
    status = run_status.read(flawed.workdir)
    assert status.state == "done"
    assert len(status.problems) == 9
    assert sum("Compiled the first step" in text for text in flawed.told) == 1
    assert all(problem in last for problem in status.problems)
    assert "is done at step 10, but: " in status.describe()


def test_a_finished_run_repeats_what_went_wrong(tmp_path, capfd):
    trainer = small_run.make_trainer(
        tmp_path,
        train_metrics={"broken": broken.Metric(fails_in="compute")},
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=10),
        num_train_steps=2,
    )
    assert _train(trainer) == 3
    capfd.readouterr()
    assert _train(trainer) == 3
    assert "cfg.train_metrics['broken'] failed once" in _last_line(
        capfd.readouterr().err
    )
    assert len(run_status.read(tmp_path).problems) == 1


def test_by_hand_the_others_are_written_and_the_error_is_raised(tmp_path):
    aux = kd.train.AuxiliariesState(
        metric_states={
            "broken": broken.Metric(fails_in="compute").get_state(np.ones(3)),
            "good": kd.metrics.AverageState.from_values(np.ones(3)),
        }
    )
    writer = kd.train.KDMetricWriter(workdir=tmp_path, collection="train")
    with pytest.raises(ZeroDivisionError):
        writer.write_step_metrics(step=3, aux=aux, schedules={}, log_summaries=False)
    [line] = small_run.records(tmp_path, "train")
    assert line == {"step": 3, "collection": "train", "metrics/good": 1.0}
    with pytest.raises(ZeroDivisionError) as e:
        aux.compute()
    assert "While computing 'metrics/broken'." in e.value.__notes__


def test_a_loss_that_fails_stops_the_run_when_the_rest_is_written(tmp_path, capfd):
    trainer = small_run.make_trainer(
        tmp_path,
        train_losses={
            "label": broken.Loss(),
            "xentropy": kd.losses.SoftmaxCrossEntropyWithIntLabels(
                logits="preds.logits", labels="batch.label"
            ),
        },
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=2),
    )
    assert _train(trainer) == 1
    [line] = small_run.records(tmp_path, "train")
    assert "losses/xentropy" in line and "metrics/accuracy" in line
    assert "losses/total" not in line  # it is not known
    err = capfd.readouterr().err
    assert err.strip().endswith(
        "ValueError: label 7 is no class\nIn `cfg.train_losses['label']` at step 0."
    )
    status = run_status.read(tmp_path)
    assert (status.state, status.message) == (
        "failed",
        "ValueError: label 7 is no class",
    )
    # The states that came after it are not kept.
    assert trainer.checkpointer.all_steps in ([], [0], (0,), ())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"optimizer": optax.sgd(1e30)},
            "loss is nan since step 2 (last finite at step 0)",
        ),
        (
            {"train_losses": {"nan": broken.NanAt()}},
            "the loss is nan since step 0 (the first one measured)",
        ),
        # Nothing was logged after the first step: it shows in the parameters.
        (
            {
                "optimizer": optax.sgd(1e30),
                "log_metrics_every": 100,
                "evals": {"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(10))},
            },
            "the loss of `cfg.evals['test']` is nan since step 10 (last finite at step "
            "0); the parameter 'layers_0.bias' and 3 more are not finite, since some step "
            "after the last one that was logged",
        ),
    ],
)
def test_a_run_that_ends_with_nan_says_since_when(tmp_path, capfd, changes, problem):
    trainer = small_run.make_trainer(tmp_path, **changes)
    assert _train(trainer) == 3
    last = _last_line(capfd.readouterr().err)
    assert last.endswith(f"{problem}.")
    # A loss that is not finite says enough of the parameters.
    assert ("the parameter " in last) == ("the parameter " in problem)
    assert "; ".join(run_status.read(tmp_path).problems).endswith(problem)


def test_an_evaluation_that_ends_with_nan_is_named(tmp_path, capfd):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(2), losses={"nan": broken.NanAt(first=4)}
    )
    assert _train(small_run.make_trainer(tmp_path, evals={"test": evaluator})) == 3
    told = "the loss of `cfg.evals['test']` is nan since step 4 (last finite at step 2)"
    assert told in _last_line(capfd.readouterr().err)


def test_nan_that_goes_away_again_is_told_and_is_no_flaw_of_the_end(tmp_path, capfd):
    losses = {
        **small_run.make_trainer(tmp_path).train_losses,
        "nan": broken.NanAt(first=2, last=5),
    }
    assert _train(small_run.make_trainer(tmp_path, train_losses=losses)) == 0
    err = capfd.readouterr().err
    assert err.count("Warning: the loss is nan at step 2.") == 1
    assert "the loss is finite again at step 6; it was nan from step 2 on." in err
    assert "Not all went well" not in err


def test_steps_that_a_guard_has_left_out_are_no_flaw_of_the_end(tmp_path, capfd):
    losses = {
        **small_run.make_trainer(tmp_path).train_losses,
        "nan": broken.NanAt(first=8),
    }
    trainer = small_run.make_trainer(
        tmp_path, train_losses=losses, nan_guard=kd.train.NanGuard(policy="skip")
    )
    assert _train(trainer) == 0
    assert "Step 8: the first value that is not finite" in capfd.readouterr().err


def test_a_loss_that_comes_and_goes_is_told_a_few_times(capfd):
    watch = loss_watch.LossWatch("the loss")
    for step in range(20):
        watch.see(step, np.float32(np.inf if step % 2 else 1.0))
    err = capfd.readouterr().err
    assert err.count("Warning: the loss is inf") == err.count("finite again") == 3
    assert watch.fact() == "is inf since step 19 (last finite at step 18)"


class _FreesTheName(kd.train.Hook):
    """Takes away what keeps a file from being written."""

    def __init__(self, path):
        self.path = path

    def after_step(self, run, *, step, state, aux):
        if step == 6:
            os.rmdir(self.path)


def test_lines_that_are_written_later_are_not_lost(tmp_path, capfd):
    blocked = tmp_path / "metrics.jsonl"
    blocked.mkdir()
    trainer = small_run.make_trainer(
        tmp_path,
        writer=kd.train.KDMetricWriter(),
        hooks={"disk": _FreesTheName(blocked)},
    )
    assert _train(trainer) == 0
    assert "the writer 'KDMetricWriter' failed" in capfd.readouterr().err
    steps = [r["step"] for r in small_run.records(tmp_path, "train")]
    assert steps == [0, 2, 4, 6, 8]


def test_lines_that_are_never_written_are_a_flaw(tmp_path, capfd):
    (tmp_path / "metrics.jsonl").mkdir()
    writer = kd.train.KDMetricWriter()
    assert _train(small_run.make_trainer(tmp_path, writer=writer)) == 3
    assert "the writer 'KDMetricWriter' failed" in _last_line(capfd.readouterr().err)


def test_data_that_cannot_be_loaded_fail_before_anything_is_written(tmp_path, capfd):
    trainer = small_run.make_trainer(
        tmp_path,
        train_ds=small_run.make_ds(
            data_source=broken.BadRows(), shuffle=False, batch_size=24
        ),
        eval_ds=small_run.make_ds(training=False),
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
        evals={"test": kd.evals.Evaluator(run=kd.evals.EveryNSteps(1))},
    )
    assert _train(trainer) == 1
    err = capfd.readouterr().err
    assert "row 17 is damaged" in err
    assert "The dataset is `cfg.train_ds`." in err
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not trainer.checkpointer.all_steps
    assert run_status.read(tmp_path).state == "failed"


class _StopsAtTwo(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        if step == 2:
            raise kd.train.hooks.HookError("this does not fit")


def test_a_mistake_that_shows_when_the_run_has_begun_is_a_failure(tmp_path, capfd):
    hooks = {"stops": _StopsAtTwo()}
    assert _train(small_run.make_trainer(tmp_path, hooks=hooks)) == 1
    assert "Error: this does not fit" in capfd.readouterr().err
    assert _train(small_run.make_trainer(None)) == 2


def test_every_hook_hears_of_an_event_of_which_one_makes_an_error(tmp_path):
    class Diary(kd.train.Hook):
        def __init__(self):
            self.steps = []

        def after_step(self, run, *, step, state, aux):
            self.steps.append(step)

    diary = Diary()
    hooks = {"first": _StopsAtTwo(), "second": _StopsAtTwo(), "diary": diary}
    with pytest.raises(kd.train.hooks.HookError) as e:
        small_run.make_trainer(tmp_path, hooks=hooks).train()
    assert diary.steps == [0, 1, 2]
    first, other = e.value.__notes__
    assert first == "In `after_step` of `cfg.hooks['first']`."
    assert "cfg.hooks['second']" in other


@functools.cache
def _error_of_model():
    trainer = small_run.make_trainer("unused", model=broken.Model())
    with pytest.raises(
        kd.train.trainer_lib._trainer_checks._key_report.CheckError
    ) as e:
        trainer.check()
    return e.value


def test_an_error_in_a_model_names_its_module_and_the_lines_that_led_to_it():
    text = str(_error_of_model())
    assert "- cfg.model: TypeError: dot_general requires" in text
    assert "in the module 'encoder.block_2' (Block)" in text
    assert _line_of("a bug in a block") in text
    assert "return x @ jnp.ones((5, 3))" in text
    by_hand = small_run.make_trainer("unused", model=broken.Model())
    with pytest.raises(TypeError) as e:
        by_hand.init_state()
    assert "Raised in the module 'encoder.block_2' (Block)." in e.value.__notes__


def test_debug_shows_the_traceback_of_the_model_from_its_first_line(tmp_path, capfd):
    trainer = small_run.make_trainer(tmp_path, model=broken.Model())
    assert _train(trainer, "--debug") == 2
    err = capfd.readouterr().err
    first_frame = err.split("File ")[1]
    assert first_frame.startswith(f'"{BROKEN}"')
    assert 'Encoder(name="encoder")(x)' in first_frame


def test_a_model_that_returns_nothing_is_told_before_the_run_starts(tmp_path, capfd):
    trainer = small_run.make_trainer(tmp_path / "run", model=broken.ReturnsNothing())
    assert _train(trainer) == 2
    assert "'preds' is None here" in capfd.readouterr().err
    assert not (tmp_path / "run" / "status.json").exists()


def test_what_is_no_linen_module_is_refused_by_name(tmp_path, capfd):
    from flax import nnx

    class Mine(nnx.Module):
        pass

    for model, text in (
        (Mine(), "got an object of `Mine`, a `flax.nnx` module"),
        (Mine, "got the class `Mine`, a `flax.nnx` module"),
        (broken.Model, "got the class `Model`. Call it: `Model(...)`"),
        (None, "such as `kd.nn.Sequential(...)`: got None"),
        (len, "got an object of `builtin_function_or_method`"),
    ):
        assert _train(small_run.make_trainer(tmp_path, model=model)) == 2
        assert text in capfd.readouterr().err


def test_status_of_a_run_without_problems_has_none(tmp_path):
    assert _train(small_run.make_trainer(tmp_path, num_train_steps=1)) == 0
    assert json.loads((tmp_path / "status.json").read_text())["problems"] == []


class _SendsSigterm(kd.train.Hook):
    def after_step(self, run, *, step, state, aux):
        if step == 2:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(("saves", "code"), [(True, 75), (False, 1)])
def test_the_exit_code_says_run_me_again_only_if_something_was_saved(
    tmp_path, capfd, saves, code
):
    trainer = small_run.make_trainer(
        tmp_path,
        hooks={"signal": _SendsSigterm()},
        checkpointer=(
            # It would save for the first time at step 5.
            kd.ckpts.Checkpointer(save_interval_steps=5, never_save_step_zero=True)
            if saves
            else None
        ),
    )
    assert _train(trainer) == code
    assert run_status.read(tmp_path).state == "interrupted"
    told = "start it again" if saves else "Nothing was saved"
    assert told in capfd.readouterr().err


def test_a_metric_that_chooses_checkpoints_and_fails_is_named(tmp_path, capfd):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.EveryNSteps(5),
        losses={},
        metrics={"bad": broken.Metric(fails_in="compute")},
    )
    trainer = small_run.make_trainer(
        tmp_path,
        evals={"test": evaluator},
        hooks={"stop": kd.train.EarlyStopping(metric="test.bad", patience=1)},
    )
    assert _train(trainer) == 1
    err = capfd.readouterr().err
    assert "Warning: cfg.evals['test'].metrics['bad'] failed" in err
    assert "In `on_eval` of `cfg.hooks['stop']`." in err


def test_a_checkpoint_is_evaluated_without_the_metric_that_fails(tmp_path, capfd):
    evaluator = kd.evals.Evaluator(
        run=kd.evals.Final(),
        metrics={"bad": broken.Metric(fails_in="compute")},
    )
    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=1,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
    )
    assert _train(trainer) == 0
    trainer = trainer.replace(evals={"test": evaluator})
    found = {}

    def evaluate():
        found.update(kd.evals.evaluate_checkpoint(trainer, ["test"])[1])

    assert command_runner.run(evaluate, argv=["kauldron eval"]) == 3
    assert "losses/total" in found["test"].loss_values
    assert "cfg.evals['test'].metrics['bad'] failed" in capfd.readouterr().err


class _FailsBeforeThree(kd.train.Hook):
    def before_step(self, run, *, step, state, batch):
        if step == 3:
            raise RuntimeError("no connection")


def test_status_of_a_run_that_fails_says_where_and_what_was_wrong_before(tmp_path):
    trainer = small_run.make_trainer(
        tmp_path,
        train_metrics={"broken": broken.Metric(fails_in="compute")},
        hooks={"fails": _FailsBeforeThree()},
    )
    assert _train(trainer) == 1
    status = run_status.read(tmp_path)
    assert (status.state, status.step, status.last_step) == ("failed", 3, 10)
    [problem] = status.problems
    assert problem.startswith("cfg.train_metrics['broken'] failed 2 times")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _SlowlyBrokenLoss(broken.Loss):
    """Fails when other steps have begun."""

    @flax.struct.dataclass
    class State(kd.losses.Loss.State):
        def compute(self):
            time.sleep(0.2)
            raise ValueError("label 7 is no class")


@pytest.mark.parametrize(
    ("num_train_steps", "save_every"),
    [(1, None), (10**6, None), (10, 1)],
    ids=["the last step", "of many", "before a save"],
)
def test_a_loss_that_turns_out_to_fail_ends_the_run_and_nothing_is_saved_behind_it(
    tmp_path, num_train_steps, save_every
):
    trainer = small_run.make_trainer(
        tmp_path,
        train_losses={"label": _SlowlyBrokenLoss()},
        train_metrics={},
        num_train_steps=num_train_steps,
        log_metrics_every=num_train_steps,
        checkpointer=save_every
        and kd.ckpts.Checkpointer(save_interval_steps=save_every),
    )
    assert _train(trainer) == 1
    status = run_status.read(tmp_path)
    assert status.state == "failed"
    assert num_train_steps == 1 or status.step < num_train_steps
    assert list(trainer.checkpointer.all_steps) == ([0] if save_every else [])
