"""`kauldron run replay`, and the debugger at the place of an error."""

from __future__ import annotations

import pdb

import pytest

from kauldron import kd
from kauldron.cli import _run, run, train

_CONFIG = """
from examples import digits_classifier
from kauldron import konfig

with konfig.imports():
    from kauldron import kd


def get_config():
    cfg = digits_classifier.get_config()
    cfg.num_train_steps = 6
    cfg.optimizer.learning_rate = 1e38
    cfg.nan_guard = kd.train.NanGuard()
    return cfg
"""


@pytest.mark.slow
def test_step_that_met_a_nan_is_saved_and_replayed(call, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(_CONFIG)
    workdir = tmp_path / "run"
    code, _, err = call(train.main, f"--cfg={config}", f"--cfg.workdir={workdir}")
    assert code == 1
    assert "NonfiniteError: Step" in err
    [command] = [s for s in err.split("`") if s.startswith("kauldron run replay")]
    code, out, err = call(run.replay, *command.split()[3:], "--trust=examples")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("Step 1, values that are not finite")
    assert lines[1].startswith("  interms.")
    code, _, err = call(
        run.replay, "--workdir", str(workdir), "--step=3", "--trust=examples"
    )
    assert code == 2
    assert "step 3 is not saved for a replay: found [1]" in err


def test_replay_of_what_is_no_workdir_is_explained(call, tmp_path):
    code, _, err = call(run.replay, f"--workdir={tmp_path}")
    assert code == 2
    assert "it has no 'config.json'" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kd.train.TrainingInterrupted("It is saved.", saved=True), 75),
        # Nothing to continue: a supervisor that runs 75 again would never come to an end.
        (kd.train.TrainingInterrupted("Nothing was saved.", saved=False), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_interrupted_command_asks_to_be_run_again_only_if_it_can_continue(
    error, code, capsys
):
    def work():
        raise error

    assert _run.run(work, argv=["kauldron"]) == code
    assert capsys.readouterr().err.strip() == (str(error) or "Interrupted.")


def _fail():
    local = 3
    raise ValueError(f"local is {local}")


@pytest.mark.parametrize(
    ("args", "is_entered"),
    [(["--catch_post_mortem"], True), (["--catch_post_mortem=false"], False)],
)
def test_debugger_is_entered_where_the_error_was_raised(
    monkeypatch, capfd, args, is_entered
):
    seen = []

    def post_mortem(tb):
        while tb.tb_next:
            tb = tb.tb_next
        seen.append(tb.tb_frame.f_locals["local"])

    monkeypatch.setattr(pdb, "post_mortem", post_mortem)
    assert _run.run(_fail, argv=["kauldron", *args]) == 1
    assert seen == [3] * is_entered
    assert "ValueError: local is 3" in capfd.readouterr().err
