"""Evaluators that follow the checkpoints of a training."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import threading
import time

import jax
import numpy as np
import pytest

from kauldron import checkpoints, kd
from kauldron.workdir import run_status
from tests.train import small_run


class BrokenAtStep4(kd.ckpts.InitTransform):
    """Fails for the state after four updates."""

    is_broken = True

    def transform(self, state):
        if self.is_broken and int(state.step) == 4:
            raise RuntimeError("broken at 4")
        return state


def _every(**changes):
    run = kd.evals.StandaloneEveryCheckpoint(seconds_to_sleep=0.01)
    return kd.evals.Evaluator(run=run, summaries={}, **changes)


def _last(**changes):
    return kd.evals.Evaluator(
        run=kd.evals.StandaloneLastCheckpoint(), summaries={}, **changes
    )


def _trainer(workdir, *, max_to_keep=None, **changes):
    kwargs = {
        "num_train_steps": 6,
        "checkpointer": kd.ckpts.Checkpointer(
            save_interval_steps=2, max_to_keep=max_to_keep
        ),
        "evals": {"a": _every()},
        "train_summaries": {},
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


def _records(workdir, collection):
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [r for r in records if r["collection"] == collection]


def _steps(workdir, collection):
    return [r["step"] for r in _records(workdir, collection)]


def _change_status(workdir, **changes):
    status = dataclasses.replace(run_status.read(workdir), **changes)
    (workdir / "status.json").write_text(json.dumps(dataclasses.asdict(status)))


def _files(folder):
    folder = pathlib.Path(folder)
    return (p for p in folder.glob("**/*") if p.is_file())


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A run of 6 steps that was evaluated along the training as well."""
    workdir = tmp_path_factory.mktemp("finished")
    along = kd.evals.Evaluator(run=kd.evals.EveryNSteps(2))
    _trainer(workdir, evals={"along": along, "a": _every()}).train()
    return workdir


@pytest.fixture
def run_dir(finished_run, tmp_path):
    """A copy of it."""
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def test_every_checkpoint_gives_what_an_evaluation_inside_the_training_gives(run_dir):
    results = _trainer(run_dir).continuous_eval(["a"])
    beside, along = _records(run_dir, "a"), _records(run_dir, "along")
    for record in (*beside, *along):
        del record["collection"]
    assert beside == along  # bit for bit
    assert [r["step"] for r in beside] == [0, 2, 4, 6]
    assert results["a"].compute().loss_values["losses/total"] == pytest.approx(
        beside[-1]["losses/total"]
    )


def test_the_last_checkpoint_is_evaluated_once(run_dir):
    trainer = _trainer(run_dir, evals={"last": _last()})
    trainer.continuous_eval(["last"])
    assert _steps(run_dir, "last") == [6]
    assert trainer.continuous_eval("last") == {}
    assert _steps(run_dir, "last") == [6]


def test_a_killed_evaluation_continues_without_repeating_or_losing_a_step(run_dir):
    class Killed(BaseException):
        pass

    class KilledAtStep4(kd.ckpts.InitTransform):
        def transform(self, state):
            if int(state.step) == 4:
                raise Killed
            return state

    with pytest.raises(Killed):
        _trainer(
            run_dir, evals={"a": _every(init_transform=KilledAtStep4())}
        ).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [0, 2]
    # Killed between writing the results of step 4 and recording that it is done.
    with (run_dir / "metrics.jsonl").open("a") as f:
        f.write(json.dumps({"step": 4, "collection": "a", "losses/total": -1.0}) + "\n")
    _trainer(run_dir).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [0, 2, 4, 6]
    assert _records(run_dir, "a")[2]["losses/total"] > 0


def test_one_failing_evaluator_does_not_stop_the_others(run_dir, capfd):
    broken = _every(init_transform=BrokenAtStep4())
    trainer = _trainer(
        run_dir, evals={"bad": broken, "good": _every(), "last": _last()}
    )
    with pytest.raises(ExceptionGroup, match="1 of 3 evaluators failed: bad") as e:
        trainer.continuous_eval(["bad", "good", "last"])
    [error] = e.value.exceptions
    assert str(error) == "broken at 4"
    assert "In `cfg.evals['bad']` at step 4." in error.__notes__
    assert _steps(run_dir, "good") == [0, 2, 4, 6]
    assert _steps(run_dir, "last") == [6]
    assert _steps(run_dir, "bad") == [0, 2]
    assert "the evaluator 'bad' is given up" in capfd.readouterr().err
    # When it is repaired, it goes on where it failed.
    repaired = BrokenAtStep4()
    repaired.is_broken = False
    trainer = _trainer(run_dir, evals={"bad": _every(init_transform=repaired)})
    trainer.continuous_eval(["bad"])
    assert _steps(run_dir, "bad") == [0, 2, 4, 6]


def test_optimizer_state_is_not_read_if_no_evaluator_wants_it(run_dir):
    class SeesNoOptimizer(kd.ckpts.InitTransform):
        def transform(self, state):
            assert state.opt_state is None
            return state

    evaluator = _last(discard_opt=True, init_transform=SeesNoOptimizer())
    _trainer(run_dir, evals={"last": evaluator}).continuous_eval(["last"])
    assert (
        _records(run_dir, "last")[0]["losses/total"]
        == (_records(run_dir, "along")[-1]["losses/total"])
    )


def test_removed_checkpoints_are_reported_as_skipped(run_dir, capfd):
    for step in (0, 2, 4):
        shutil.rmtree(run_dir / "checkpoints" / f"ckpt_{step}")
    _trainer(run_dir).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [6]
    assert "[a] skipped" in (err := capfd.readouterr().err)
    assert "not there any more: steps 0, 2, 4." in err
    record = json.loads((run_dir / "standalone_evals" / "a.json").read_text())
    assert (record["evaluated"], record["skipped"]) == ([6], [0, 2, 4])


def test_a_checkpoint_that_is_removed_while_it_is_read_counts_as_skipped(
    run_dir, monkeypatch, capfd
):
    read = checkpoints.CheckpointReader.restore

    def restore(self, specs, *, step):
        with self.guard(step):
            if step == 2:  # Orbax is removing it: some files are gone already
                next(_files(self.path(2))).unlink()
            return read(self, specs, step=step)

    monkeypatch.setattr(checkpoints.CheckpointReader, "restore", restore)
    _trainer(run_dir).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [0, 4, 6]
    assert "skipped, as their checkpoints are not there any more: steps 2." in (
        capfd.readouterr().err
    )


def _damage(run_dir, step):
    """Changes a byte of the largest file of a checkpoint: array data."""
    folder = run_dir / "checkpoints" / f"ckpt_{step}"
    file = max(_files(folder), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_newest_checkpoint_stands_for_a_final_one_that_is_gone(run_dir, capfd):
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_6")
    _trainer(run_dir, evals={"last": _last()}).continuous_eval(["last"])
    assert _steps(run_dir, "last") == [4]
    assert "step 6 is not there any more: step 4 is evaluated instead" in (
        capfd.readouterr().err
    )


@pytest.mark.parametrize("preemptable", [False, True])
def test_damaged_checkpoint_is_reported_and_not_evaluated(run_dir, capfd, preemptable):
    for step in (2, 6):
        _damage(run_dir, step)
    trainer = _trainer(
        run_dir,
        evals={"a": _every(), "last": _last()},
        setup=kd.train.setup_utils.Setup(preemptable_eval=preemptable),
    )
    trainer.continuous_eval(["a", "last"])
    assert _steps(run_dir, "a") == [0, 4]
    assert _steps(run_dir, "last") == [4]
    err = capfd.readouterr().err
    assert "[a] skipped. The checkpoint of step 2 is damaged" in err
    assert "[last] skipped. The checkpoint of step 6 is damaged" in err
    assert trainer.continuous_eval(["a", "last"]) == {}


def test_newest_checkpoint_that_is_damaged_is_not_evaluated_by_the_command(
    run_dir, capfd
):
    _damage(run_dir, 6)
    trainer = _trainer(run_dir)
    step, _ = kd.evals.evaluate_checkpoint(trainer, "a", writes=False)
    assert step == 4
    assert "step 6 is damaged" in capfd.readouterr().err
    with pytest.raises(checkpoints.DamagedCheckpointError, match="step 6 is damaged"):
        kd.evals.evaluate_checkpoint(trainer, "a", step=6, writes=False)


def test_a_state_that_misses_files_is_never_taken_for_zeros(run_dir):
    reader = checkpoints.CheckpointReader(run_dir)
    specs = _trainer(run_dir).state_specs
    with pytest.raises(checkpoints.CheckpointGoneError), reader.guard(4):
        state = reader.restore(specs, step=4)
        assert any(np.any(np.asarray(x)) for x in jax.tree.leaves(state.params))
        [*_files(reader.path(4))][-1].unlink()


def test_a_training_that_is_to_be_continued_is_waited_for(run_dir):
    trainer = _trainer(run_dir, num_train_steps=10)
    evaluating = threading.Thread(target=trainer.continuous_eval, args=(["a"],))
    evaluating.start()
    deadline = time.monotonic() + 60
    while len(_steps(run_dir, "a")) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.1)
    assert evaluating.is_alive()  # the mark of the first end does not end it
    before = _records(run_dir, "a")
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_6")
    trainer.train()  # from step 4 on: what it takes back is its own
    evaluating.join(timeout=60)
    assert not evaluating.is_alive()
    assert _steps(run_dir, "a") == [0, 2, 4, 6, 8, 10]
    assert _records(run_dir, "a")[:4] == before


def test_what_is_waited_for_is_said_and_given_up_after_a_while(tmp_path, capfd):
    trainer = _trainer(tmp_path)
    with pytest.raises(TimeoutError, match=r"Gave up after 0\.05 s.*has not begun"):
        trainer.continuous_eval(["a"], timeout_secs=0.05)
    assert f"The training in {tmp_path} has not begun" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (
            "failed",
            r"failed at step 4 of 6 \(disk full\): waiting for it to be started",
        ),
        ("interrupted", "was interrupted at step 4 of 6"),
        ("running", "has died at about step 4 of 6"),
    ],
)
def test_a_broken_training_is_waited_for(run_dir, state, text):
    _change_status(run_dir, state=state, step=4, heartbeat=0.0, message="disk full")
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_6")
    with pytest.raises(TimeoutError, match=text):
        _trainer(run_dir).continuous_eval(["a"], timeout_secs=0.05)
    assert _steps(run_dir, "a") == [0, 2, 4]


def test_a_run_that_stopped_early_has_ended(run_dir):
    _change_status(run_dir, step=6, last_step=100)
    _trainer(run_dir, num_train_steps=100).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [0, 2, 4, 6]


def test_a_training_that_begins_anew_takes_old_results_back(run_dir, capfd):
    _trainer(run_dir).continuous_eval(["a"])
    before = _records(run_dir, "a")
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_4")
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_6")
    _change_status(run_dir, run_id="another", step=2, last_step=2)
    _trainer(run_dir, num_train_steps=2).continuous_eval(["a"])
    assert _records(run_dir, "a") == before[:2]
    assert "[a] The training began anew" in capfd.readouterr().err


def test_a_preemptable_evaluation_keeps_the_state_it_works_on(run_dir):
    setup = kd.train.Setup(preemptable_eval=True)
    broken = BrokenAtStep4()
    trainer = _trainer(run_dir, setup=setup, evals={"a": _every(init_transform=broken)})
    with pytest.raises(ExceptionGroup):
        trainer.continuous_eval(["a"])
    kept = run_dir / "_eval_a" / "checkpoints"
    assert [p.name for p in kept.iterdir()] == ["ckpt_4"]
    shutil.rmtree(run_dir / "checkpoints" / "ckpt_4")
    _trainer(run_dir, setup=setup).continuous_eval(["a"])
    assert _steps(run_dir, "a") == [0, 2, 4, 6]
    assert list(kept.iterdir()) == []


def test_two_processes_do_not_run_the_same_evaluator(run_dir):
    from kauldron.evals.standalone import _progress_file as records

    with records.opened(run_dir, "a"), pytest.raises(kd.errors.UserError) as e:
        _trainer(run_dir).continuous_eval(["a"])
    assert "Another process runs the evaluator 'a'" in str(e.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["b"],
            r"No evaluator is called 'b' in `cfg\.evals`\. There are \['along', 'tes",
        ),
        ("tset", r"Did you mean 'test'\?"),
        ([], "Say which evaluators"),
        ("along", r"'along' runs inside the training \(`EveryNSteps`\)"),
    ],
)
def test_bad_names_are_refused_before_anything_is_waited_for(tmp_path, names, message):
    along = kd.evals.Evaluator(run=kd.evals.EveryNSteps(2))
    trainer = _trainer(tmp_path / "run", evals={"along": along, "test": _every()})
    with pytest.raises(kd.errors.UserError, match=message):
        trainer.continuous_eval(names)
    assert not (tmp_path / "run").exists()


def test_a_run_without_checkpoints_cannot_be_followed(tmp_path):
    with pytest.raises(kd.errors.UserError, match="This run saves nothing"):
        _trainer(tmp_path, checkpointer=None).continuous_eval(["a"])


def test_a_misspelt_key_is_found_before_anything_is_waited_for(tmp_path):
    metric = kd.metrics.Accuracy(logits="preds.logit", labels="batch.label")
    trainer = _trainer(tmp_path, evals={"a": _every(metrics={"acc": metric})})
    with pytest.raises(KeyError, match=r"preds\.logits"):
        trainer.continuous_eval(["a"])


def test_another_model_than_the_saved_one_is_refused(run_dir):
    import flax.linen as nn

    model = kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=[nn.Dense(2)])
    with pytest.raises(kd.errors.UserError, match="does not fit this run"):
        _trainer(run_dir, model=model).continuous_eval(["a"])


def test_strategies_take_descriptions_of_jobs_and_do_not_resolve_them():
    from kauldron import konfig

    with konfig.imports():
        from kauldron import kd, kxm
    cfg = kd.evals.StandaloneEveryCheckpoint(
        platform="a100=1", job_group="g", seconds_to_sleep=3
    )
    cfg.executor = kxm.Job(target="x")
    cfg.env_vars.A = 1
    strategy = konfig.resolve(cfg)
    assert strategy.seconds_to_sleep == 3
    assert strategy.job_group == "g"
    assert isinstance(strategy.executor, konfig.ConfigDict)
    assert not strategy.should_eval_in_train(0, is_last=True)
    last = kd.evals.StandaloneLastCheckpoint(requirements=kxm.Job())
    assert isinstance(konfig.resolve(last).requirements, konfig.ConfigDict)


def test_several_processes_are_refused(run_dir, monkeypatch):
    trainer = _trainer(run_dir)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(kd.errors.UserError, match="runs in one process"):
        kd.evals.continuous_eval(trainer, "a")


def test_a_damaged_record_is_named(run_dir):
    (run_dir / "standalone_evals").mkdir()
    (run_dir / "standalone_evals" / "a.json").write_text("[]")
    with pytest.raises(kd.errors.UserError, match=r"a\.json' is damaged"):
        _trainer(run_dir).continuous_eval("a")


def test_polling_needs_an_interval():
    with pytest.raises(ValueError, match="must be more than 0: got 0"):
        kd.evals.StandaloneEveryCheckpoint(seconds_to_sleep=0)
