"""The mistakes a newcomer makes: a few lines, the name that was meant, exit code 2."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from absl import flags

from kauldron.cli import main as cli_main
from kauldron.cli import train as train_command

ROOT = pathlib.Path(__file__).parents[2]
CLASSIFIER = "--cfg=examples/digits_classifier.py"


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs `kauldron train` in this process; returns exit code and stderr."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("KAULDRON_DEBUG", raising=False)

    def run(*args: str) -> tuple[int, str]:
        capfd.readouterr()
        code = train_command.main(["kauldron", *args], flag_values=flags.FlagValues())
        return code, capfd.readouterr().err

    return run


# Arguments after the config, and what the message must say.
_MISTAKES = {
    "misspelt field": (
        ["--cfg.num_trian_steps=5"],
        ["num_trian_steps", "'num_train_steps'"],
    ),
    "misspelt argument of a nested call": (
        ["--cfg.optimizer.learning_rte=1"],
        ["learning_rte", "'learning_rate'"],
    ),
    "wrong type": (["--cfg.num_train_steps=abc"], ["num_train_steps", "'abc'", "int"]),
    "key that does not exist": (
        ["--cfg.model.inputs=batch.imgae"],
        ["batch.imgae", "batch.image"],
    ),
    "key of a loss that does not exist": (
        ["--cfg.train_losses.xentropy.logits=preds.logit"],
        ["preds.logit", "preds.logits"],
    ),
    "batch size zero": (["--cfg.train_ds.batch_size=0"], ["batch_size", "0"]),
    "negative number of steps": (
        ["--cfg.num_train_steps=-5"],
        ["positive decay_steps", "-5", "`decay_steps` is `cfg.ref.num_train_steps`"],
    ),
    "misspelt key in a transform": (
        ["--cfg.train_ds.transforms[1].key=imag"],
        ["imag", "image"],
    ),
    "positional argument": (["num_train_steps=5"], ["num_train_steps=5", "--cfg."]),
    "index out of range": (["--cfg.train_ds.transforms[9].key=x"], ["transforms", "9"]),
}


@pytest.mark.parametrize("name", _MISTAKES)
def test_mistake_is_explained_in_a_few_lines(run, tmp_path, name):
    args, expected = _MISTAKES[name]
    code, err = run(CLASSIFIER, f"--cfg.workdir={tmp_path / 'run'}", *args)
    assert code == 2, err
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert len(err.splitlines()) <= 12, err
    # Nothing was started.
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_negative_number_of_steps_without_a_schedule(run, tmp_path):
    code, err = run(
        "--cfg=examples/digits_autoencoder.py",
        f"--cfg.workdir={tmp_path}",
        "--cfg.num_train_steps=-5",
    )
    assert code == 2
    assert "`num_train_steps` must be at least 0: got -5" in err


def test_missing_config_flag(run):
    code, err = run()
    assert code == 2
    assert "--cfg=examples/digits_classifier.py" in err


def test_config_that_does_not_exist(run):
    code, err = run("--cfg=examples/digits_clasifier.py")
    assert code == 2
    assert "examples/digits_clasifier.py" in err
    assert "digits_classifier.py" in err


def test_config_without_get_config(run, tmp_path):
    config = tmp_path / "config.py"
    config.write_text("x = 1\n")
    code, err = run(f"--cfg={config}")
    assert code == 2
    assert "get_config" in err
    assert "Traceback" not in err


def test_no_workdir(run):
    code, err = run(CLASSIFIER)
    assert code == 2
    assert "--cfg.workdir=" in err


def test_workdir_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    code, err = run(CLASSIFIER, f"--cfg.workdir={tmp_path / 'file' / 'run'}")
    assert code == 2
    assert "cannot be written" in err


def test_demo_extra_that_is_not_installed(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # `import sklearn` fails
    code, err = run(CLASSIFIER, f"--cfg.workdir={tmp_path}")
    assert code == 2
    assert "pip install -e '.[demo]'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_debug_shows_the_traceback(run, tmp_path, monkeypatch, how):
    args = [CLASSIFIER, "--cfg.num_trian_steps=5"]
    if how == "variable":
        monkeypatch.setenv("KAULDRON_DEBUG", "1")
    else:
        args.append("--debug")
    code, err = run(*args)
    assert code == 2
    assert "Traceback" in err


def test_unknown_flag(run):
    code, err = run(CLASSIFIER, "--confg=3")
    assert code == 2
    assert "confg" in err
    assert "Traceback" not in err


def test_unknown_command_names_the_nearest(capfd):
    assert cli_main.main(["kauldron", "trian"]) == 2
    assert "Did you mean 'train'?" in capfd.readouterr().err


def test_help_lists_the_commands(capfd):
    assert cli_main.main(["kauldron", "--help"]) == 0
    assert "kauldron train" in capfd.readouterr().out


def test_cwd_is_importable_for_the_console_script(monkeypatch, tmp_path):
    from kauldron.cli import command_runner

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/somewhere"])
    command_runner.make_cwd_importable()
    assert sys.path[0] == os.fspath(tmp_path)


def test_reader_that_stops_reading_is_no_failure_to_complain_about():
    code = (
        "import sys; from kauldron.cli import command_runner; "
        "sys.exit(command_runner.run(lambda: print('x' * 10**6), argv=[]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
