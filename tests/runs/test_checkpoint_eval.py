"""Evaluating one checkpoint of a run, from Python and from the shell."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from absl import flags

from kauldron import kd, konfig
from kauldron.cli import evaluate
from tests.evals import tiny_digits
from tests.train import small_run


def _contents(workdir):
    """Every file of a run, with a hash of what is in it."""
    return {
        str(p.relative_to(workdir)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in workdir.glob("**/*")
        if p.is_file() and "evaluations" not in p.parts
    }


def _trainer(workdir, **changes):
    kwargs = {
        "num_train_steps": 4,
        "checkpointer": kd.ckpts.Checkpointer(save_interval_steps=2),
        "evals": {
            "along": kd.evals.Evaluator(run=kd.evals.EveryNSteps(2)),
            "other": kd.evals.Evaluator(run=kd.evals.StandaloneLastCheckpoint()),
        },
    }
    return small_run.make_trainer(workdir, **{**kwargs, **changes})


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    _trainer(workdir).train()
    return workdir


def _records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _along(workdir, step):
    records = _records(workdir / "metrics.jsonl")
    [found] = [r for r in records if (r["collection"], r["step"]) == ("along", step)]
    return found


@pytest.mark.parametrize("step", [-1, 2])
def test_the_result_is_that_of_the_training_which_is_not_touched(finished_run, step):
    before = _contents(finished_run)
    found, outputs = kd.evals.evaluate_checkpoint(_trainer(finished_run), step=step)
    assert found == (4 if step == -1 else 2)
    assert list(outputs) == ["along", "other"]
    folder = finished_run / "evaluations" / f"ckpt_{found}"
    along, other = _records(folder / "metrics.jsonl")
    assert along == _along(finished_run, found)
    assert other["losses/total"] == along["losses/total"]
    assert outputs["along"].loss_values["losses/total"] == along["losses/total"]
    assert _contents(finished_run) == before


def test_an_evaluation_never_replaces_the_results_of_another(finished_run):
    trainer = _trainer(finished_run)
    for _ in range(2):
        kd.evals.evaluate_checkpoint(trainer, "along", step=0)
    folders = [p.name for p in (finished_run / "evaluations").glob("ckpt_0*")]
    assert sorted(folders) == ["ckpt_0", "ckpt_0_2"]


def test_results_can_go_elsewhere_or_nowhere(finished_run, tmp_path):
    trainer = _trainer(finished_run)
    kd.evals.evaluate_checkpoint(trainer, "along", out=tmp_path / "out")
    assert len(_records(tmp_path / "out" / "metrics.jsonl")) == 1
    number = len(list((finished_run / "evaluations").iterdir()))
    kd.evals.evaluate_checkpoint(trainer, "along", writes=False)
    assert len(list((finished_run / "evaluations").iterdir())) == number


def test_a_run_that_is_training_can_be_evaluated(finished_run):
    from kauldron.workdir import lock

    with lock.owned(finished_run):
        _, outputs = kd.evals.evaluate_checkpoint(_trainer(finished_run), "along")
    assert set(outputs) == {"along"}


def test_a_step_that_is_not_there_is_named_with_those_that_are(finished_run):
    with pytest.raises(kd.errors.UserError, match=r"step 3 in .* \[0, 2, 4\]"):
        kd.evals.evaluate_checkpoint(_trainer(finished_run), step=3)


def test_one_failing_evaluator_does_not_stop_the_others(finished_run):
    class Broken(kd.ckpts.InitTransform):
        def transform(self, state):
            raise RuntimeError("broken")

    evals = {
        "bad": kd.evals.Evaluator(run=kd.evals.Final(), init_transform=Broken()),
        "good": kd.evals.Evaluator(run=kd.evals.Final()),
    }
    trainer = _trainer(finished_run, evals=evals)
    with pytest.raises(ExceptionGroup, match="1 of 2 evaluators failed: bad"):
        kd.evals.evaluate_checkpoint(trainer, out=finished_run / "evaluations" / "x")
    [record] = _records(finished_run / "evaluations" / "x" / "metrics.jsonl")
    assert record["collection"] == "good"


@pytest.fixture(scope="module")
def config_run(tmp_path_factory):
    """The workdir of a run that was made from a config file, and moved since."""
    workdir = tmp_path_factory.mktemp("config") / "before"
    cfg = tiny_digits.get_config()
    cfg.workdir = str(workdir)
    cfg.num_train_steps = 2
    konfig.resolve(cfg).train()
    return workdir.rename(workdir.with_name("after"))


def _command(*args):
    return evaluate.main(["kauldron eval", *args], flag_values=flags.FlagValues())


def test_the_command_evaluates_a_run_from_its_workdir(config_run, capsys):
    before = _contents(config_run)
    args = (
        f"--workdir={config_run}",
        "--trust=examples",
        "--cfg.evals.eval.num_batches=2",
    )
    assert _command(*args) == 0
    printed = capsys.readouterr().out
    assert f"{config_run} at step 2" in printed
    [record] = _records(config_run / "evaluations" / "ckpt_2" / "metrics.jsonl")
    assert f"{record['metrics/accuracy']:.6g}" in printed
    assert "eval       metrics/accuracy  " in printed
    assert _contents(config_run) == before
    shutil.rmtree(config_run / "evaluations")
    assert _command(*args, "--step=0", "--nowrite") == 0
    assert not (config_run / "evaluations").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "No run: say which one, for instance `--workdir=runs/digits`"),
        (["--workdir={}"], "--trust=examples"),
        (["--workdir={}", "--trust=examples", "--step=7"], "found steps [0, 2]"),
        (
            ["--workdir={}", "--trust=examples", "--eval_names=evla"],
            "Did you mean 'eval'",
        ),
        (["--workdir={}", "--trust=examples", "--cfg.evals.evl.ds=1"], "'evl'"),
        (
            ["--workdir={}", "--trust=examples", "--out=/proc/x"],
            "cannot be written: No",
        ),
        (["--workdir={}", "--trust=examples", "--out={}"], "holds results already"),
        (["--workdir={}r"], "There is no workdir"),
    ],
)
def test_mistakes_are_told_without_a_traceback(config_run, args, message, capsys):
    assert _command(*(arg.format(config_run) for arg in args)) == 2
    shown = capsys.readouterr().err
    assert message.format(config_run) in shown
    assert "Traceback" not in shown
