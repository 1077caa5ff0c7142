"""`Trainer.eval_only`: a config that evaluates another run."""

from __future__ import annotations

import json
import shutil

import pytest

from kauldron import kd, konfig
from tests.evals import tiny_digits


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The workdir of a run of 4 steps, evaluated along the training."""
    workdir = tmp_path_factory.mktemp("source") / "run"
    cfg = tiny_digits.get_config()
    cfg.workdir = str(workdir)
    cfg.seed = 7
    konfig.resolve(cfg).train()
    return workdir


def _cfg(source, workdir, **strategies):
    with konfig.imports():
        from kauldron import kd

    cfg = kd.train.Trainer.eval_only()
    cfg.workdir = str(workdir)
    cfg.aux.workdir = str(source)
    cfg.aux.trusted = ["examples"]
    trained = tiny_digits.get_config()
    cfg.train_losses = trained.train_losses
    cfg.train_metrics = trained.train_metrics
    strategies = strategies or {"last": kd.evals.StandaloneLastCheckpoint()}
    cfg.evals = {
        name: kd.evals.Evaluator(
            run=run,
            ds=kd.train.workdirs.get_resolved(
                cfg.ref.aux.workdir, path="eval_ds", trusted=["examples"]
            ),
        )
        for name, run in strategies.items()
    }
    return cfg


def _records(workdir, collection=None):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [r for r in records if collection in (None, r["collection"])]


def test_the_results_are_those_of_the_training(source, tmp_path):
    cfg = _cfg(source, tmp_path)
    trainer = konfig.resolve(cfg)
    state, aux = trainer.train()
    assert (int(state.step), aux, state.opt_state) == (4, None, None)
    [record] = _records(tmp_path)
    [along] = [r for r in _records(source, "eval") if r["step"] == 4]
    assert record.pop("collection") == "last"
    del along["collection"]
    assert record == along  # bit for bit
    assert trainer.seed == 7
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["aux"]["workdir"] == str(source)


def test_an_evaluation_that_is_repeated_replaces_its_results(source, tmp_path):
    cfg = _cfg(source, tmp_path)
    trainer = konfig.resolve(cfg)
    for _ in range(2):
        trainer.continuous_eval("last")
    assert len(_records(tmp_path)) == 1
    cfg.aux.step = 2
    trainer = konfig.resolve(cfg)
    trainer.continuous_eval("last")
    assert [r["step"] for r in _records(tmp_path)] == [4, 2]
    with pytest.raises(kd.errors.UserError, match="for step 2 and for later steps"):
        trainer.continuous_eval("last")


def test_every_checkpoint_of_the_other_run_is_evaluated_and_others_once(
    source, tmp_path
):
    copy = tmp_path / "copy"  # of a program that tells no status
    shutil.copytree(source, copy)
    (copy / "status.json").unlink()
    with konfig.imports():
        from kauldron import kd
    every = kd.evals.StandaloneEveryCheckpoint(seconds_to_sleep=0.01)
    along = kd.evals.EveryNSteps(3)
    cfg = _cfg(copy, tmp_path / "out", every=every, along=along)
    konfig.resolve(cfg).continuous_eval("every,along")
    assert [r["step"] for r in _records(tmp_path / "out", "every")] == [0, 2, 4]
    assert [r["step"] for r in _records(tmp_path / "out", "along")] == [4]


def test_in_plain_python_what_is_not_given_comes_from_the_other_run(source, tmp_path):
    trainer = kd.train.Trainer.eval_only(
        workdir=tmp_path,
        aux={"workdir": source, "trusted": ["examples"]},
        evals={},
    )
    assert trainer.seed == 7
    assert trainer.optimizer is None
    assert trainer.train_ds.element_spec["image"].shape == (64, 8, 8, 1)
    assert int(trainer.init_state().step) == 4


def test_the_other_run_must_be_named(tmp_path):
    with konfig.imports():
        from kauldron import kd
    cfg = kd.train.Trainer.eval_only(workdir=str(tmp_path))
    with pytest.raises(ValueError, match=r"--cfg\.aux\.workdir=runs/digits"):
        konfig.resolve(cfg)


def test_a_workdir_without_a_run_is_named(tmp_path):
    with pytest.raises(kd.errors.UserError, match=r"has no 'config\.json'"):
        kd.train.workdirs.load_config(tmp_path)
    with pytest.raises(kd.errors.UserError, match=r"has no 'element_spec\.json'"):
        kd.train.workdirs.get_element_spec(tmp_path)


def test_a_part_that_the_config_does_not_have_is_named(source):
    with pytest.raises(kd.errors.UserError, match=r"has no 'evals\.evla'"):
        kd.train.workdirs.get_resolved(source, path="evals.evla")


def test_eval_only_cannot_be_switched_off(source):
    with pytest.raises(ValueError, match=r"needs `cfg\.setup\.eval_only=True`"):
        kd.train.Trainer.eval_only(
            aux={"workdir": source}, setup=kd.train.Setup(eval_only=False)
        )


def test_the_workdir_of_the_other_run_is_not_written_to(source):
    with pytest.raises(kd.errors.UserError, match="needs a workdir of its own"):
        konfig.resolve(_cfg(source, source)).train()
    assert "eval_only" not in (source / "config.json").read_text()


def test_launch_descriptions_are_left_unresolved(source, tmp_path):
    with konfig.imports():
        from kauldron import kxm

    cfg = _cfg(source, tmp_path)
    cfg.xm_job = kxm.Job(platform="a100=1")
    assert konfig.resolve(cfg).xm_job is cfg.xm_job
