"""`kauldron run replay`; exit codes; the debugger at the place of an error."""

from __future__ import annotations

import pdb

import pytest
from absl import flags

from kauldron import errors, kd
from kauldron._base import problem_log
from kauldron.cli import command_runner, run, train

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

    assert command_runner.run(work, argv=["kauldron"]) == code
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
    assert command_runner.run(_fail, argv=["kauldron", *args]) == 1
    assert seen == [3] * is_entered
    assert "ValueError: local is 3" in capfd.readouterr().err


def _interrupted(saved):
    return kd.train.TrainingInterrupted("Stopped.", saved=saved)


@pytest.mark.parametrize(
    ("has_started", "has_problem", "error", "code"),
    [
        (True, False, None, 0),
        (True, True, None, 3),
        (False, False, errors.UserError("wrong"), 2),
        # Whatever else went wrong, how it ended counts.
        (False, True, errors.UserError("wrong"), 2),
        (True, False, errors.UserError("wrong"), 1),
        (True, True, _interrupted(saved=True), 75),
        (True, True, _interrupted(saved=False), 1),
        (True, True, errors.Failure("The disk is full."), 1),
        (True, True, ValueError("a bug"), 1),
    ],
)
def test_exit_code_says_how_a_command_has_ended(
    has_started, has_problem, error, code, capsys
):
    def work():
        problems = problem_log.current()
        if has_started:
            problems.start()
        if has_problem:
            problems.state("the loss", "is nan since step 4")
        if error is not None:
            raise error

    assert command_runner.run(work, argv=["kauldron"]) == code
    err = capsys.readouterr().err
    assert ("Traceback" in err) == isinstance(error, ValueError)
    assert (str(error) in err) == (error is not None)


def test_a_problem_that_is_taken_back_is_none():
    def work():
        problems = problem_log.current()
        problems.failed("a writer", OSError("away"))
        problems.state("a writer", None)

    assert command_runner.run(work, argv=["kauldron"]) == 0


@pytest.mark.parametrize(
    ("args", "variable", "is_shown"),
    [
        ([], None, False),
        ([], "", False),
        ([], "0", False),
        ([], "1", True),
        (["--debug"], None, True),
        (["--debug=true"], None, True),
        (["--debug=0"], None, False),
        (["--debug", "--debug=false"], None, False),
        (["--debugger"], None, False),
        (["debug"], None, False),
    ],
)
def test_traceback_of_a_mistake_is_shown_if_it_is_asked_for(
    monkeypatch, capsys, args, variable, is_shown
):
    if variable is None:
        monkeypatch.delenv("KAULDRON_DEBUG", raising=False)
    else:
        monkeypatch.setenv("KAULDRON_DEBUG", variable)

    def work():
        raise errors.UserError("wrong")

    assert command_runner.run(work, argv=["kauldron", *args]) == 2
    err = capsys.readouterr().err
    assert ("Traceback" in err) == is_shown
    assert ("(--debug shows where it was raised.)" in err) != is_shown


def test_debug_is_offered_only_where_code_of_the_user_was_running(capsys):
    from kauldron.cli import runs

    argv = ["kauldron", "run_0001", "--where=id == 1"]
    assert runs.rm(argv, flag_values=flags.FlagValues()) == 2
    assert "--debug" not in capsys.readouterr().err
