"""Flags of `kauldron train` besides the config."""

from __future__ import annotations

import pytest
from absl import flags

from kauldron.cli import train

CONFIG = "--cfg=examples/digits_standalone_eval.py"


def _train(*args):
    return train.main(["kauldron train", *args], flag_values=flags.FlagValues())


def test_a_misspelt_evaluator_is_a_mistake(tmp_path, capsys):
    workdir = tmp_path / "run"
    assert _train(CONFIG, f"--cfg.workdir={workdir}", "--eval_names=tset,final") == 2
    shown = capsys.readouterr().err
    assert "There are ['final', 'test', 'train_subset']. Did you mean 'test'?" in shown
    assert "Traceback" not in shown
    assert not workdir.exists()


def test_an_evaluation_that_waits_in_vain_fails_without_a_traceback(tmp_path, capsys):
    args = ("--cfg.aux.num_features=2", "--eval_names=test", "--eval_timeout=0")
    assert _train(CONFIG, f"--cfg.workdir={tmp_path}", *args) == 1
    shown = capsys.readouterr().err
    assert "Error: Gave up after 0 s." in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--eval_timeout=3"], "--eval_timeout is for --eval_names"),
        (["--eval_names=test", "--eval_timeout=-1"], "eval_timeout"),
        (["--eval_names=test"], "--cfg.workdir=runs/my_run"),
    ],
)
def test_flags_that_make_no_sense_are_a_mistake(args, message, capsys):
    assert _train(CONFIG, *args) == 2
    assert message in capsys.readouterr().err
