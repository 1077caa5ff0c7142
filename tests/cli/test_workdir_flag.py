"""`--workdir`: every command that looks at a run finds it, and its mistakes, alike."""

from __future__ import annotations

import pytest
from absl import flags

from kauldron import kd, konfig
from kauldron.cli import ckpt, evaluate, predict, repro, run

_OF_A_CONFIG = {
    "predict": (predict.main, ["--out=preds.npz"]),
    "eval": (evaluate.main, []),
    "run replay": (run.replay, []),
}
_ANEW = {"run repro": (repro.main, [])}  # trains in a workdir of its own
_OF_CHECKPOINTS = {
    "ckpt ls": (ckpt.ls, []),
    "ckpt show": (ckpt.show, []),
    "ckpt verify": (ckpt.verify, []),
    "ckpt export": (ckpt.export, ["params.npz"]),
}
_WITH_CONFIG = {**_OF_A_CONFIG, **_ANEW}
_ALL = {**_WITH_CONFIG, **_OF_CHECKPOINTS}


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    monkeypatch.chdir(tmp_path)

    def call(command, *args):
        function, options = command
        argv = ["kauldron", *args, *options]
        code = function(argv, flag_values=flags.FlagValues())
        return code, capfd.readouterr().err

    return call


@pytest.fixture
def digits(tmp_path):
    """A folder like that of a run which has saved nothing yet."""
    with konfig.imports():
        from examples import digits_classifier as project

    (tmp_path / "runs" / "digits" / "checkpoints").mkdir(parents=True)
    cfg = konfig.ConfigDict(
        {
            "workdir": "before/it/was/moved",
            "model": project.Net(),
            "num_train_steps": 1,
        }
    )
    path = tmp_path / "runs" / "digits" / "config.json"
    path.write_text(cfg.to_json())
    return tmp_path / "runs" / "digits"


def _files(folder):
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("command", _ALL.values(), ids=_ALL)
def test_mistyped_workdir_names_the_nearest_and_creates_nothing(
    command, call, digits, tmp_path
):
    before = _files(tmp_path)
    code, err = call(command, "--workdir=runs/digist")
    assert code == 2
    assert (
        "There is no workdir 'runs/digist': 'runs' exists and holds 'digits'. "
        "Did you mean 'runs/digits'?"
    ) in err
    assert _files(tmp_path) == before


@pytest.mark.parametrize("command", _ALL.values(), ids=_ALL)
def test_folder_above_the_run_is_explained(command, call, digits, tmp_path):
    code, err = call(command, "--workdir", "runs")
    assert code == 2
    assert "it holds 'digits'. Did you mean 'runs/digits'?" in err


@pytest.mark.parametrize("command", _WITH_CONFIG.values(), ids=_WITH_CONFIG)
def test_missing_workdir_is_asked_for(command, call):
    code, err = call(command)
    assert code == 2
    assert "No run: say which one, for instance `--workdir=runs/digits`." in err


@pytest.mark.parametrize("command", _WITH_CONFIG.values(), ids=_WITH_CONFIG)
def test_names_of_other_packages_need_trust(command, call, digits):
    code, err = call(command, f"--workdir={digits}")
    assert code == 2
    assert "--trust=examples" in err
    code, err = call(command, f"--workdir={digits}", "--trust=examples")
    assert code == 2
    assert "--trust" not in err
    assert "Net" in err


@pytest.mark.parametrize("command", _OF_A_CONFIG.values(), ids=_OF_A_CONFIG)
@pytest.mark.parametrize("given", ["workdir", "cfg and workdir"])
def test_run_that_was_moved_is_used_where_it_is(
    given, command, call, digits, monkeypatch
):
    seen = []
    monkeypatch.setattr(konfig, "resolve", lambda cfg: seen.append(cfg.workdir))
    flags_ = [f"--cfg={digits}/config.json"] if given != "workdir" else []
    code, _ = call(command, f"--workdir={digits}", *flags_)
    assert code == 2  # `None` is no trainer
    assert seen == [str(digits)]


def test_run_is_the_first_argument_or_the_flag_not_both(call, digits):
    code, err = call(_ALL["ckpt ls"], "--workdir=runs/digits", "runs/other")
    assert code == 2
    assert "Unexpected argument 'runs/other'" in err


def test_python_gives_the_config_of_a_moved_run_the_place_where_it_is(digits):
    cfg = kd.train.workdirs.load_config(digits, overrides={"num_train_steps": 3})
    assert (cfg.workdir, cfg.num_train_steps) == (str(digits), 3)
